// @ts-check
/**
 * One WebSocket, from its opening to its end: frames are sent as requests, answers are matched by id, silence ends it.
 *
 * @typedef {{type?: string, id?: string, [field: string]: any}} Frame
 * @typedef {object} Loss
 * @property {number} code  the close code that says why the link ended; 0: this side gave it up
 * @property {number} [retryAfterMs]  the least time before the next link
 * @property {string} [scope]  the limit that refused it (docs/limits.md)
 * @property {number} [reconnectAfterMs]  the time before the next link that the server has drawn at random
 */

/** The limit for a pending answer while nothing at all arrives. A dead network gives no other sign. */
const SILENCE_MS = 10_000;
/** The same while the browser reports no network: then only a server on this machine could answer. */
const OFFLINE_MS = 2_000;
/** The limit for a pending answer while other frames do arrive: it must have been lost on its way. */
const ANSWER_MS = 30_000;
/** API Gateway cuts a link after two hours. This one ends before, at a random time: others began at the same moment. */
const LIFE_MS = 110 * 60_000;
/** How long a tab waits after another tab had the visitor erased: by then that tab has the new token. */
const ERASED_MS = 1_000;

export const PAGE = 100;

/**
 * Close codes, as in messaging/protocol/codes.py, some by the name of the error that ends a link. The close frame after
 * such an error has the same code, except on AWS, where it may have any.
 *
 * @type {Record<string, number>}
 */
export const CLOSES = {
  restart: 4001,
  bad_frames: 4400,
  unauthorized: 4401,
  forbidden: 4403,
  no_identify: 4408,
  too_large: 4413,
};

/** @typedef {ReturnType<typeof dial>} Link */

/**
 * @param {string} url
 * @param {number} heartbeatMs  used until the server sends its own
 * @param {(frame: Frame) => void} onFrame  called with every frame, before an answer reaches its request
 */
export function dial(url, heartbeatMs, onFrame) {
  /** @type {Map<string, (answer: Frame | null) => void>} */
  const owed = new Map();
  let requests = 0;
  /** @type {any} */
  let silence;
  /** @type {any} */
  let nextBeat;
  /** The server's words on the end of the link. @type {Partial<Loss>} */
  let told = {};
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
      return link.drop(); // an unreadable frame may be a message: the next link loads it with the history
    }
    obey(frame);
    onFrame(frame);
    // A published message has the id of its sender's request, but is no answer. A partial frame is only part of one.
    if (frame.id && frame.type !== "message" && !frame.partial) settle(frame.id, frame);
  }

  /** Follow a frame that concerns the link itself. @param {Frame} frame */
  function obey(frame) {
    const { type, code, id, scope, retryAfterMs, reconnectAfterMs } = frame;
    if (type === "connection") heartbeatMs = frame.heartbeatMs;
    if (type === "serverShutdown") told = { reconnectAfterMs };
    if (frame.status === "erased") told = { reconnectAfterMs: ERASED_MS };
    if (type === "error" && !id) told = { scope, retryAfterMs }; // of a link that is refused: no request has an answer
    const close = type === "error" && CLOSES[code];
    if (close) queueMicrotask(() => link.drop({ code: close })); // after the error has reached its request
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
    /** The time when a frame last arrived. */
    heardAt: Date.now(),
    isLost: false,
    /** Resolves once the link has ended, with the reason. @type {Promise<Loss>} */
    lost: new Promise((resolve) => (end = resolve)),
    /** Resolves to an object once the link is open, or to null if it ends before. */
    opened: answerTo(""), // no frame has this id

    /**
     * Send a frame; it gets an id unless it has one. The answer may be an error frame; null means that the link was
     * lost first, and that it is unknown whether the server has acted.
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

    /** Return whether the link has been silent for two heartbeats, as after the machine slept: it is probably dead. */
    isStale: () => Date.now() - link.heardAt > 2 * heartbeatMs,

    /** Return whether the same frame may succeed later, after this error. @param {Frame} error */
    passes: ({ code }) => ["rate_limited", "unavailable", "paused"].includes(code),

    /**
     * Ping now, and then at every heartbeat.
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
     * End the link now, without the browser's close event, which may take minutes on a dead network.
     *
     * @param {Loss} loss
     */
    drop(loss = { code: 0 }) {
      if (link.isLost) return;
      link.isLost = true;
      for (const timer of [silence, nextBeat, endOfLife]) clearTimeout(timer);
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
      end({ ...told, ...loss });
      for (const id of [...owed.keys()]) settle(id, null);
    },
  };

  const socket = new WebSocket(url);
  socket.onopen = () => settle("", {});
  socket.onmessage = (event) => receive(event.data);
  socket.onclose = ({ code }) => link.drop({ code });
  return link;
}

/** The position up to which a page has read. A reconnect continues there: nothing is missed, little is read twice. */
export class Place {
  /** The cursor up to which everything was seen: only history pages and pongs set it. @type {string | undefined} */
  since;
  /** The greatest cursor seen, with which a pong's is compared. */
  seen = "";
  #request = "";
  #requests = 0;
  #onNewest;

  /** @param {(more: boolean) => void} onNewest  the newest page is complete; more: there are older messages */
  constructor(onNewest) {
    this.#onNewest = onNewest;
  }

  /** Forget the position: the messages that follow are not a continuation. */
  restart() {
    this.since = undefined;
    this.seen = "";
  }

  /** @param {string} cursor */
  saw(cursor) {
    if (cursor > this.seen) this.seen = cursor;
  }

  /** Move on after a page of history, or a part of one. @param {Frame} page */
  read(page) {
    // Only the last part of the newest page says whether there are older messages: without it, the page is read again.
    if (page.id === this.#request && (this.since || !page.partial)) this.since = page.cursor;
  }

  /**
   * Load the messages after `since`, or the newest page of history. Meanwhile only these pages move `since`.
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
        if (!link.passes(page)) this.since = undefined; // the server no longer knows this position
        link.drop({ code: 0, retryAfterMs: page.retryAfterMs, scope: page.scope });
        return false;
      }
      if (!since) this.#onNewest(page.more);
      if (!since || !page.more) return true;
    }
  }

  /** Catch up if a pong says that there are newer messages. @param {Frame} pong @param {Link} link */
  async compare(pong, link) {
    if (!pong.cursor || this.#request) return;
    if (pong.cursor > this.seen && pong.cursor !== this.since) await this.catchUp(link);
    else this.since = pong.cursor;
  }
}
