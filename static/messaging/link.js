// @ts-check
/**
 * One WebSocket, from dialling to its end: frames go out as requests, answers are matched by id, and silence ends it.
 *
 * @typedef {{type?: string, id?: string, [field: string]: any}} Frame
 * @typedef {object} Loss
 * @property {number} code  the close code that says why the link ended; 0: we gave it up
 * @property {number} [retryAfterMs]  the next one has to wait so long, and then some
 * @property {number} [reconnectAfterMs]  the server's own word on when to come back, drawn at random
 */

/** How long an owed answer may take while nothing at all arrives. A dead network gives no other sign. */
const SILENCE_MS = 10_000;
/** The same while the browser says that there is no network: only this machine itself could answer. */
const OFFLINE_MS = 2_000;
/** How long it may take while other frames do arrive: this one answer got lost on its way. */
const ANSWER_MS = 30_000;
/** API Gateway cuts a link after two hours. Ours ends before, and not together with all that began when it did. */
const LIFE_MS = 110 * 60_000;
/** How long a tab stays away after another one had the visitor erased: that one then has the new token. */
const ERASED_MS = 1_000;

export const PAGE = 100;

/**
 * Close codes, as messaging/protocol/codes.py has them, some by the name of the error that ends a link: the close that
 * follows has the same code, but not on AWS, where it may have any.
 *
 * @type {Record<string, number>}
 */
export const CLOSES = {
  restart: 4001,
  bad_frames: 4400,
  unauthorized: 4401,
  forbidden: 4403,
  blocked: 4403,
  no_identify: 4408,
  too_large: 4413,
};

/** @typedef {ReturnType<typeof dial>} Link */

/**
 * @param {string} url
 * @param {number} heartbeatMs  until the server states its own
 * @param {(frame: Frame) => void} onFrame  sees every frame, before the answer reaches who asked
 */
export function dial(url, heartbeatMs, onFrame) {
  /** @type {Map<string, (answer: Frame | null) => void>} */
  const owed = new Map();
  let requests = 0;
  /** @type {any} */
  let silence;
  /** @type {any} */
  let nextBeat;
  /** @type {number | undefined} */
  let reconnectAfterMs;
  let end = /** @type {(loss: Loss) => void} */ (() => {});
  const endOfLife = setTimeout(() => link.drop(), LIFE_MS * (0.95 + Math.random() / 10));

  /** @param {string} text */
  function receive(text) {
    link.heardAt = Date.now();
    watch();
    /** @type {Frame} */
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return link.drop(); // a frame we can't read may be a message: the next link reads it again from the history
    }
    obey(frame);
    onFrame(frame);
    // A live message repeats its author's id without being the answer; a partial frame has more of the answer behind it.
    if (frame.id && frame.type !== "message" && !frame.partial) settle(frame.id, frame);
  }

  /** What a frame says of the link itself. @param {Frame} frame */
  function obey(frame) {
    const { type, code } = frame;
    if (type === "connection") heartbeatMs = frame.heartbeatMs;
    if (type === "serverShutdown") reconnectAfterMs = frame.reconnectAfterMs;
    if (frame.status === "erased") reconnectAfterMs = ERASED_MS;
    const close = type === "error" && CLOSES[code];
    if (close) queueMicrotask(() => link.drop({ code: close })); // once its answer has reached who asked
  }

  /** @param {string} id @returns {Promise<Frame | null>} */
  function answerTo(id) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => link.drop(), ANSWER_MS);
      owed.set(id, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      if (owed.size === 1 || !navigator.onLine) watch();
    });
  }

  /** @param {string} id @param {Frame | null} answer */
  function settle(id, answer) {
    const resolve = owed.get(id);
    if (!resolve) return;
    owed.delete(id);
    if (owed.size === 0) clearTimeout(silence);
    resolve(answer);
  }

  function watch() {
    clearTimeout(silence);
    if (owed.size > 0) silence = setTimeout(() => link.drop(), navigator.onLine ? SILENCE_MS : OFFLINE_MS);
  }

  const link = {
    /** When something last arrived. */
    heardAt: Date.now(),
    isLost: false,
    /** Settles once, with the reason. @type {Promise<Loss>} */
    lost: new Promise((resolve) => (end = resolve)),
    /** Something once open; null when it never opened. */
    opened: answerTo(""), // no frame has this id

    /**
     * Send a frame; it gets an id unless it has one. The answer may be an error frame; null means that the link was
     * lost first, and that nobody knows whether the server acted.
     *
     * @param {Frame} frame
     * @returns {Promise<Frame | null>}
     */
    request(frame) {
      if (link.isLost) return Promise.resolve(null);
      const id = frame.id ?? `request-${++requests}`;
      const answer = answerTo(id);
      socket.send(JSON.stringify({ ...frame, id }));
      return answer;
    },

    /** The machine may have slept: a link that it found dead would look alive until proven so. */
    isStale: () => Date.now() - link.heardAt > 2 * heartbeatMs,

    /** Whether the same frame may succeed after this error. @param {Frame} error */
    passes: ({ code }) => code === "rate_limited" || code === "unavailable",

    /**
     * Ping now, and from now on every heartbeat.
     *
     * @param {(pong: Frame) => void} onPong
     */
    async ping(onPong) {
      const pong = await link.request({ action: "ping" });
      if (!pong) return;
      link.beat(onPong);
      onPong(pong);
    },

    /** Ping at the next heartbeat, and so on. @param {(pong: Frame) => void} onPong */
    beat(onPong) {
      clearTimeout(nextBeat);
      nextBeat = setTimeout(() => link.ping(onPong), heartbeatMs);
    },

    /**
     * End the link now. The browser's own close event may take minutes on a dead network, so nobody waits for it.
     *
     * @param {Loss} loss
     */
    drop(loss = { code: 0 }) {
      if (link.isLost) return;
      link.isLost = true;
      for (const timer of [silence, nextBeat, endOfLife]) clearTimeout(timer);
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
      end({ reconnectAfterMs, ...loss });
      for (const id of [...owed.keys()]) settle(id, null);
    },
  };

  const socket = new WebSocket(url);
  socket.onopen = () => settle("", {});
  socket.onmessage = (event) => receive(event.data);
  socket.onclose = ({ code }) => link.drop({ code });
  return link;
}

/** How far a page has read, so that a reconnect goes on there: nothing is missed, and little is read twice. */
export class Place {
  /** Everything up to here was seen: only history pages and pongs can say so. @type {string | undefined} */
  since;
  /** Greatest cursor seen; what a pong is compared with. */
  #head = "";
  #request = "";
  #requests = 0;
  #onNewest;

  /** @param {(more: boolean) => void} onNewest  the newest page is complete; more: there are older messages */
  constructor(onNewest) {
    this.#onNewest = onNewest;
  }

  /** What follows is not a continuation. */
  restart() {
    this.since = undefined;
    this.#head = "";
  }

  /** @param {string} cursor */
  saw(cursor) {
    if (cursor > this.#head) this.#head = cursor;
  }

  /** A page of history has been taken in, or a part of it. @param {Frame} page */
  read(page) {
    // Only the last part of the newest page says whether there are older messages: without it, it is read anew.
    if (page.id === this.#request && (this.since || !page.partial)) this.since = page.cursor;
  }

  /**
   * Read what this page has not seen: behind `since`, or the newest page. Meanwhile only these pages move `since`.
   *
   * @param {Link} link
   * @returns {Promise<boolean>} whether nothing is missing now
   */
  async catchUp(link) {
    for (;;) {
      const since = this.since;
      this.#request = `catch-up-${++this.#requests}`;
      const page = await link.request({ action: "history", id: this.#request, limit: PAGE, since });
      this.#request = "";
      if (!page) return false;
      if (page.type === "error") {
        if (!link.passes(page)) this.since = undefined; // the server does not know this place any more
        link.drop({ code: 0, retryAfterMs: page.retryAfterMs });
        return false;
      }
      if (!since) this.#onNewest(page.more);
      if (!since || !page.more) return true;
    }
  }

  /** A pong says where the newest message is. @param {Frame} pong @param {Link} link */
  async compare(pong, link) {
    if (!pong.cursor || this.#request) return;
    if (pong.cursor > this.#head && pong.cursor !== this.since) await this.catchUp(link);
    else this.since = pong.cursor;
  }
}
