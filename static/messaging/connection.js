// @ts-check
/**
 * The client side of the protocol: keeps a link up for ever, resumes without a gap, empties the outbox in order.
 * It knows no page; what it learns goes to the handlers.
 *
 * @typedef {import("./link.js").Frame} Frame
 * @typedef {import("./link.js").Loss} Loss
 * @typedef {import("./link.js").Environment} Environment
 * @typedef {import("./outbox.js").Outbox} Outbox
 * @typedef {import("./thread.js").Message} Message
 *
 * @typedef {object} State
 * @property {"connecting" | "live" | "waiting" | "stopped"} phase
 *   live: identified and caught up. waiting: until the next try. stopped: a try makes no sense before a person acts.
 * @property {number} [lastLive]  when something last arrived while it was live, if it isn't now
 * @property {number} [code]  close code that stopped it
 *
 * @typedef {object} Handlers
 * @property {(state: State) => void} state
 * @property {(messages: Message[]) => void} messages  in any order, known ones among them
 * @property {() => void} reset  forget all messages: what follows is not a continuation
 * @property {(more: boolean) => void} newest  the newest page is complete; more: there are older messages
 * @property {(frame: Frame) => void} identified
 *
 * @typedef {object} Options
 * @property {string} url
 * @property {number} heartbeatMs  until the server states its own
 * @property {"user" | "admin"} role
 * @property {() => Promise<{token?: string}>} credentials  asked at every try; throws Refused if there are none
 * @property {() => void} [forgetCredentials]  the server refused them
 * @property {Outbox} outbox
 * @property {Handlers} handlers
 * @property {import("./delivery.js").InTurn} inTurn
 */

import { Delivery } from "./delivery.js";
import { backoff, browser, Link, PASSING } from "./link.js";

/** A link that held so long was a good one: the next failure starts with short delays again. */
const STABLE_MS = 10_000;
/** API Gateway cuts a link after two hours. Ours ends before, and not together with all that began when it did. */
const LIFE_MS = 110 * 60_000;
const PAGE = 100;
const BAD_FRAMES = 4400;
const UNAUTHORIZED = 4401;
const FORBIDDEN = 4403;
const NO_IDENTIFY = 4408;
const TOO_LARGE = 4413;
/** The errors that end a link. The close that follows has the same code, but not on AWS: there it may have any. */
const CLOSES = new Map([
  ["unauthorized", UNAUTHORIZED],
  ["forbidden", FORBIDDEN],
  ["blocked", FORBIDDEN],
  ["too_large", TOO_LARGE],
]);

/** There are no credentials: the person has to sign in. */
export class Refused extends Error {}

export class Connection {
  /** @type {State} */
  state = { phase: "connecting" };

  #options;
  #environment;
  #heartbeatMs;
  /** @type {Link | null} the identified link */
  #link = null;
  /** @type {number | undefined} */
  #lastLive;
  /** Everything up to here was seen: only history pages and pongs can say so. @type {string | undefined} */
  #since;
  /** Greatest cursor seen; what a pong is compared with. */
  #head = "";
  #catchUpId = "";
  #failures = 0;
  #refusals = 0;
  /** @type {number | undefined} the server's own word on when to come back */
  #reconnectAfterMs;
  /** @type {string | undefined} */
  #conversation;
  /** @type {string | undefined} */
  #author;
  #delivery;
  #catchUps = 0;
  /** @type {any} */
  #nextBeat;
  /** @type {any} */
  #stable;
  /** @type {any} */
  #endOfLife;
  #endPause = () => {};

  /** @param {Options} options @param {Environment} environment */
  constructor(options, environment = browser) {
    this.#options = options;
    this.#environment = environment;
    this.#heartbeatMs = options.heartbeatMs;
    this.#delivery = new Delivery(options.outbox, environment, options.inTurn, (entry, ack) =>
      this.#acknowledged(entry, ack),
    );
    options.outbox.onSettledElsewhere = (entry) => this.#acknowledged(entry, /** @type {Frame} */ (entry.ack));
  }

  /** Connects and reconnects for as long as the page lives. */
  async run() {
    for (;;) {
      this.#enter("connecting");
      const loss = await this.#live();
      const delay = this.#delayAfter(loss);
      this.#enter(delay === Infinity ? "stopped" : "waiting", loss.code);
      await this.#pause(delay);
    }
  }

  /** The page is in front, or the network is back, or a person asks: find out now whether the link lives. */
  wake() {
    this.#options.outbox.reload();
    this.#endPause();
    if (!this.#link) return;
    const silent = this.#environment.now() - this.#link.heardAt;
    if (silent > 2 * this.#heartbeatMs) this.#link.drop(); // the machine slept; this link would look alive until proven dead
    else this.#ping(this.#link);
  }

  /** @param {import("./outbox.js").Draft} draft @throws {import("./outbox.js").OutboxFull} */
  send(draft) {
    this.#options.outbox.add(draft);
    this.#delivery.run();
  }

  /** @param {string} id */
  retry(id) {
    this.#options.outbox.retry(id);
    this.#delivery.run();
  }

  /**
   * Load messages before a cursor.
   *
   * @param {{before?: string, conversation?: string}} range
   * @returns {Promise<Frame | null>} the page, which the handlers have seen; null: no answer
   */
  async older(range) {
    const page = await this.#link?.request({ action: "history", limit: PAGE, ...range });
    return page?.type === "history" ? page : null;
  }

  /** One link, from its credentials to its end. @returns {Promise<Loss>} */
  async #live() {
    let credentials;
    try {
      credentials = await this.#options.credentials();
    } catch (error) {
      return { code: error instanceof Refused ? UNAUTHORIZED : 0 };
    }
    const link = new Link(this.#options.url, (frame) => this.#receive(frame, link), this.#environment);
    if (await link.opened) await this.#join(link, credentials);
    const loss = await link.lost;
    this.#link = this.#delivery.link = null;
    if (this.state.phase === "live") this.#lastLive = link.heardAt;
    this.#environment.clearTimeout(this.#nextBeat);
    this.#environment.clearTimeout(this.#stable);
    this.#environment.clearTimeout(this.#endOfLife);
    return loss;
  }

  /** @param {Link} link @param {{token?: string}} credentials */
  async #join(link, credentials) {
    const since = this.#since;
    const identity = { action: "identify", v: 2, type: this.#options.role, ...credentials };
    const answer = await link.request(since ? { ...identity, since } : identity);
    if (!answer) return;
    if (answer.type === "error") return this.#giveUp(link, answer);
    this.#link = this.#delivery.link = link;
    this.#refusals = 0;
    this.#conversation = answer.conversation;
    this.#author = answer.me?.name;
    this.#options.handlers.identified(answer);
    if (!since || !answer.recovered) {
      this.#since = undefined;
      this.#head = "";
      this.#options.handlers.reset();
    }
    this.#delivery.run();
    if (!(await this.#catchUp(link))) return;
    this.#enter("live");
    this.#stable = this.#environment.setTimeout(() => (this.#failures = 0), STABLE_MS);
    this.#endOfLife = this.#environment.setTimeout(
      () => link.drop(),
      LIFE_MS * (0.95 + this.#environment.random() / 10),
    );
    this.#beat(link);
  }

  /** An identify or a history without success: a new link starts from a clean state. @param {Link} link @param {Frame} error */
  #giveUp(link, error) {
    if (PASSING.has(error.code)) return link.drop({ code: 0, retryAfterMs: error.retryAfterMs });
    link.drop({ code: error.code === "forbidden" ? FORBIDDEN : BAD_FRAMES });
  }

  /** @param {Frame} frame @param {Link} link */
  #receive(frame, link) {
    switch (frame.type) {
      case "message":
        return this.#show([/** @type {any} */ (frame)]);
      case "history":
        this.#show(frame.messages);
        if (frame.id === this.#catchUpId) this.#since = frame.cursor;
        return;
      case "connection":
        this.#heartbeatMs = frame.heartbeatMs;
        return;
      case "serverShutdown":
        this.#reconnectAfterMs = frame.reconnectAfterMs;
        return;
      case "error": {
        const code = CLOSES.get(frame.code);
        if (code) queueMicrotask(() => link.drop({ code })); // once its answer has reached who asked
      }
    }
  }

  /** @param {Message[]} messages */
  #show(messages) {
    for (const message of messages) {
      if (message.cursor > this.#head) this.#head = message.cursor;
    }
    this.#options.handlers.messages(messages);
    for (const message of messages) {
      if (message.id) this.#options.outbox.settle(message.id, message); // our own
    }
  }

  /**
   * Read what this page has not seen: behind `since`, or the newest page. Meanwhile only these pages move `since`.
   *
   * @param {Link} link
   * @returns {Promise<boolean>} whether nothing is missing now
   */
  async #catchUp(link) {
    for (;;) {
      const since = this.#since;
      this.#catchUpId = `catch-up-${++this.#catchUps}`;
      const request = { action: "history", id: this.#catchUpId, limit: PAGE };
      const page = await link.request(since ? { ...request, since } : request);
      this.#catchUpId = "";
      if (!page) return false;
      if (page.type === "error") {
        if (!PASSING.has(page.code)) this.#since = undefined; // the server does not know this place any more
        link.drop({ code: 0, retryAfterMs: page.retryAfterMs });
        return false;
      }
      if (!since) this.#options.handlers.newest(page.more);
      if (!since || !page.more) return true;
    }
  }

  /** @param {Link} link */
  #beat(link) {
    this.#environment.clearTimeout(this.#nextBeat);
    this.#nextBeat = this.#environment.setTimeout(() => this.#ping(link), this.#heartbeatMs);
  }

  /** Proves that the link lives, and that no message went missing on it. @param {Link} link */
  async #ping(link) {
    const pong = await link.request({ action: "ping" });
    if (!pong) return;
    this.#beat(link);
    if (!pong.cursor || this.#catchUpId) return;
    if (pong.cursor > this.#head) await this.#catchUp(link);
    else this.#since = pong.cursor;
  }

  /** @param {import("./outbox.js").Entry} entry @param {Frame} ack */
  #acknowledged(entry, ack) {
    const { messageId, cursor, timestamp } = ack;
    const { id, content } = entry;
    const conversation = entry.to ?? this.#conversation;
    const from = this.#options.role;
    this.#show([{ messageId, cursor, timestamp, id, content, from, conversation, author: this.#author }]);
  }

  /** How long to stay away after a loss; Infinity: until a person acts. @param {Loss} loss */
  #delayAfter(loss) {
    const told = this.#reconnectAfterMs;
    this.#reconnectAfterMs = undefined;
    if (loss.code === UNAUTHORIZED) {
      this.#options.forgetCredentials?.();
      if (this.#refusals++ === 0) return 0;
    }
    // 4408 is in the range that says stop, but it only means that this machine was slow, perhaps asleep.
    if (loss.code >= 4400 && loss.code < 4500 && loss.code !== NO_IDENTIFY) return Infinity;
    if (told !== undefined) return told; // drawn at random by the server
    return (loss.retryAfterMs ?? 0) + backoff(this.#environment, this.#failures++);
  }

  /** A sleep that `wake` ends. @param {number} ms */
  #pause(ms) {
    return new Promise((resolve) => {
      const timer = ms === Infinity ? undefined : this.#environment.setTimeout(() => resolve(undefined), ms);
      this.#endPause = () => {
        this.#environment.clearTimeout(timer);
        resolve(undefined);
      };
    });
  }

  /** @param {State["phase"]} phase @param {number} [code] */
  #enter(phase, code) {
    this.state = { phase, code, lastLive: phase === "live" ? undefined : this.#lastLive };
    this.#options.handlers.state(this.state);
  }
}
