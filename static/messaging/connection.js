// @ts-check
/**
 * The client side of the protocol: it keeps a link up for ever, resumes without a gap, and empties the outbox in order.
 * It does not depend on a page; everything it receives goes to the handlers.
 *
 * @typedef {import("./link.js").Frame} Frame
 * @typedef {import("./link.js").Link} Link
 * @typedef {import("./link.js").Loss} Loss
 * @typedef {import("./messages.js").Outbox} Outbox
 * @typedef {import("./messages.js").Message} Message
 *
 * @typedef {object} State
 * @property {"connecting" | "live" | "waiting" | "stopped"} phase
 *   live: identified and caught up. waiting: for the next try. stopped: a try makes no sense before a person acts.
 * @property {number} [lastLive]  the time when a frame last arrived while it was live; only if it is not live now
 * @property {number} [code]  the close code of the last loss; only if it is not live now
 * @property {string} [scope]  the limit that refused the last link; only if it is not live now
 * @property {number} [retryAt]  the time of the next try, while it waits for one
 *
 * @typedef {object} Handlers
 * @property {(state: State) => void} state
 * @property {(messages: Message[]) => void} messages  in any order, possibly with known ones among them
 * @property {() => void} reset  forget all messages: those that follow are not a continuation
 * @property {(more: boolean) => void} newest  the newest page is complete; more: there are older messages
 * @property {(frame: Frame) => void} identified
 * @property {(frame: Frame) => void} [frame]  every other frame, whatever its type
 *
 * @typedef {{token?: string, lang?: string, pass?: string}} Credentials  pass: of staff, who have a place in a full house
 *
 * @typedef {object} Options
 * @property {string} url
 * @property {number} heartbeatMs  used until the server sends its own
 * @property {"user" | "admin"} role
 * @property {() => Promise<Credentials | null>} credentials  for each try; null: there are none
 * @property {() => void} [forgetCredentials]  called if the server refused them
 * @property {Outbox} outbox
 * @property {Handlers} handlers
 * @property {import("./messages.js").InTurn} inTurn
 */

import { CLOSES, dial, PAGE, Place } from "./link.js";
import { backoff, delivery } from "./messages.js";

/** After a link was live for this long, the next failure starts with short delays again. */
const STABLE_MS = 10_000;

export class Connection {
  /** @type {State} */
  state = { phase: "connecting" };

  #options;
  #place;
  #deliver;
  /** @type {Link | null} the identified link */
  #link = null;
  #liveAt = Infinity;
  /** @type {number | undefined} */
  #lastLive;
  #failures = 0;
  #refusals = 0;
  /** @type {string | undefined} */
  #conversation;
  /** @type {string | undefined} */
  #author;
  #endPause = () => {};

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.#place = new Place(options.handlers.newest);
    const { outbox, inTurn } = options;
    this.#deliver = delivery(
      outbox,
      inTurn,
      (entry, ack) => this.#acknowledged(entry, ack),
      () => this.#link,
    );
    outbox.onSettledElsewhere = (entry) => this.#acknowledged(entry, /** @type {Frame} */ (entry.ack));
  }

  /** Connect and reconnect for as long as the page lives. */
  async run() {
    for (let loss = /** @type {Loss | undefined} */ (undefined); ; ) {
      this.#enter("connecting", { code: loss?.code, scope: loss?.scope });
      loss = await this.#live();
      const { code, scope } = loss;
      const delay = this.#delayAfter(loss);
      if (delay === Infinity) this.#enter("stopped", { code });
      else this.#enter("waiting", { code, scope, retryAt: Date.now() + delay });
      await this.#pause(navigator.onLine ? delay : Infinity);
    }
  }

  /** Test now whether the link lives: the page is in front, the network is back, or a person has asked. */
  wake() {
    this.#options.outbox.reload();
    this.#endPause();
    if (this.#link?.isStale()) this.#link.drop();
    else this.#link?.ping(this.#onPong);
  }

  /** End the link before the page is suspended: the browser may keep the page, but not its link. `wake` reconnects. */
  sleep() {
    this.#link?.drop();
  }

  /** @param {import("./messages.js").Draft} draft @returns {boolean} false: the outbox has no room */
  send(draft) {
    const isKept = this.#options.outbox.add(draft);
    this.#deliver();
    return isKept;
  }

  /** Send what waits now: the reason why it was refused is gone. */
  resume() {
    this.#deliver(true);
  }

  /** @param {string} id */
  retry(id) {
    this.#options.outbox.retry(id);
    this.#deliver();
  }

  /**
   * Send any other frame.
   *
   * @param {Frame} frame
   * @returns {Promise<Frame | null>} the answer; null: there is no link, or it was lost first
   */
  async request(frame) {
    return (await this.#link?.request(frame)) ?? null;
  }

  /**
   * Load messages before a cursor.
   *
   * @param {{before?: string, conversation?: string}} range
   * @returns {Promise<Frame | null>} the page, which the handlers have got, or a `not_found` error; null: no answer
   */
  async older(range) {
    const page = await this.request({ action: "history", limit: PAGE, ...range });
    return page?.type === "history" || page?.code === "not_found" ? page : null;
  }

  /** Run one link, from its credentials to its end. @returns {Promise<Loss>} */
  async #live() {
    let credentials;
    try {
      credentials = await this.#options.credentials();
    } catch {
      return { code: 0 };
    }
    if (!credentials) return { code: CLOSES.unauthorized }; // the person has to sign in
    const { url, heartbeatMs } = this.#options;
    const { pass, ...identity } = credentials;
    const place = pass ? `${url}?pass=${encodeURIComponent(pass)}` : url;
    const link = dial(place, heartbeatMs, (frame) => this.#receive(frame));
    if (await link.opened) await this.#join(link, identity);
    const loss = await link.lost;
    this.#link = null;
    if (this.state.phase === "live") this.#lastLive = link.heardAt;
    if (Date.now() - this.#liveAt >= STABLE_MS) this.#failures = 0;
    this.#liveAt = Infinity;
    return loss;
  }

  /** @param {Link} link @param {Credentials} credentials */
  async #join(link, credentials) {
    const place = this.#place; // since, seen
    const answer = await link.request({ action: "identify", v: 2, type: this.#options.role, ...credentials, ...place });
    if (!answer) return;
    if (answer.type === "error") {
      // A new link starts from a clean state. If the error closes the link by itself, that has already happened.
      const { retryAfterMs, scope } = answer;
      return link.drop(link.passes(answer) ? { code: 0, retryAfterMs, scope } : { code: CLOSES.bad_frames });
    }
    this.#link = link;
    this.#refusals = 0;
    this.#deliver();
    if (!(await this.#place.catchUp(link))) return;
    this.#liveAt = Date.now();
    this.#enter("live");
    link.beat(this.#onPong);
  }

  /** @param {Frame} pong */
  #onPong = (pong) => this.#link && this.#place.compare(pong, this.#link);

  /** @param {Frame} frame */
  #receive(frame) {
    switch (frame.type) {
      case "message":
        return this.#show([/** @type {any} */ (frame)]);
      case "history":
        this.#show(frame.messages);
        this.#place.read(frame);
        break;
      case "identified": {
        // The visitor may have been erased: here (the answer to `forget` has no id) or in another tab.
        const goesOn = frame.recovered && this.#place.since && frame.conversation === this.#conversation;
        this.#conversation = frame.conversation;
        this.#author = frame.me?.author || undefined;
        this.#options.handlers.identified(frame);
        if (goesOn) return;
        this.#place.restart();
        return this.#options.handlers.reset();
      }
    }
    this.#options.handlers.frame?.(frame);
  }

  /** @param {Message[]} messages */
  #show(messages) {
    for (const { cursor } of messages) this.#place.saw(cursor);
    this.#options.handlers.messages(messages);
    for (const message of messages) {
      if (message.id) this.#options.outbox.settle(message.id, message); // our own
    }
  }

  /** @param {import("./messages.js").Entry} entry @param {Frame} ack */
  #acknowledged(entry, ack) {
    const conversation = entry.to ?? this.#conversation;
    this.#show([
      /** @type {any} */ ({
        ...ack,
        content: entry.content,
        from: this.#options.role,
        conversation,
        author: this.#author,
      }),
    ]);
  }

  /** Return how many ms to wait after a loss; Infinity: until a person acts. @param {Loss} loss */
  #delayAfter({ code, retryAfterMs = 0, reconnectAfterMs }) {
    if (code === CLOSES.unauthorized) {
      this.#options.forgetCredentials?.();
      if (this.#refusals++ === 0) return 0;
    }
    // `no_identify` is in the range of codes that mean stop, but only says that this machine was slow, perhaps asleep.
    if (code >= 4400 && code < 4500 && code !== CLOSES.no_identify) return Infinity;
    return reconnectAfterMs ?? retryAfterMs + backoff(this.#failures++);
  }

  /** Wait for `ms`, or until `wake` is called. @param {number} ms */
  #pause(ms) {
    return new Promise((/** @type {(value?: any) => void} */ resolve) => {
      this.#endPause = resolve;
      if (ms < Infinity) setTimeout(resolve, ms);
    });
  }

  /** @param {State["phase"]} phase @param {Partial<State>} [more] */
  #enter(phase, more) {
    this.state = { phase, lastLive: phase === "live" ? undefined : this.#lastLive, ...more };
    this.#options.handlers.state(this.state);
  }
}
