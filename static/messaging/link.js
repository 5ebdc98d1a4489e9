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
export const SILENCE_MS = 10_000;
/** How long it may take while other frames do arrive: this one answer got lost on its way. */
const ANSWER_MS = 30_000;
/** API Gateway cuts a link after two hours. Ours ends before, and not together with all that began when it did. */
const LIFE_MS = 110 * 60_000;
/** How long a tab stays away after another one had the visitor erased: that one then has the new token. */
const ERASED_MS = 1_000;
const OPENING = "opening";

export const UNAUTHORIZED = 4401;
export const FORBIDDEN = 4403;
/** The errors that end a link. The close that follows has the same code, but not on AWS: there it may have any. */
const CLOSES = new Map([
  ["unauthorized", UNAUTHORIZED],
  ["forbidden", FORBIDDEN],
  ["blocked", FORBIDDEN],
  ["too_large", 4413],
]);

export class Link {
  /** @type {Map<string, (answer: Frame | null) => void>} */
  #owed = new Map();
  #requests = 0;
  /** @type {any} */
  #silence = null;
  /** @type {any} */
  #nextBeat;
  #endOfLife;
  #heartbeatMs;
  /** @type {number | undefined} */
  #reconnectAfterMs;
  #socket;
  #onFrame;
  #end = /** @type {(loss: Loss) => void} */ (() => {});

  /** When something last arrived. */
  heardAt;
  isLost = false;
  /** Settles once, with the reason. @type {Promise<Loss>} */
  lost;
  /** True once open; false when it never opened. @type {Promise<boolean>} */
  opened;

  /**
   * @param {string} url
   * @param {number} heartbeatMs  until the server states its own
   * @param {(frame: Frame) => void} onFrame  sees every frame, before the answer reaches who asked
   */
  constructor(url, heartbeatMs, onFrame) {
    this.#heartbeatMs = heartbeatMs;
    this.#onFrame = onFrame;
    this.heardAt = Date.now();
    this.#endOfLife = setTimeout(() => this.drop(), LIFE_MS * (0.95 + Math.random() / 10));
    this.lost = new Promise((resolve) => (this.#end = resolve));
    this.opened = this.#answer(OPENING).then((frame) => frame !== null);
    const socket = (this.#socket = new WebSocket(url));
    socket.onopen = () => this.#settle(OPENING, {});
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = ({ code }) => this.drop({ code });
  }

  /**
   * Send a frame; it gets an id unless it has one. The answer may be an error frame; null means that the link was
   * lost first, and that nobody knows whether the server acted.
   *
   * @param {Frame} frame
   * @returns {Promise<Frame | null>}
   */
  request(frame) {
    if (this.isLost) return Promise.resolve(null);
    const id = frame.id ?? `request-${++this.#requests}`;
    const answer = this.#answer(id);
    this.#socket.send(JSON.stringify({ ...frame, id }));
    return answer;
  }

  /** The machine may have slept: a link that it found dead would look alive until proven so. */
  get isStale() {
    return Date.now() - this.heardAt > 2 * this.#heartbeatMs;
  }

  /** Whether the same frame may succeed after this error. @param {Frame} error */
  passes({ code }) {
    return code === "rate_limited" || code === "unavailable";
  }

  /**
   * Ping now, and from now on every heartbeat.
   *
   * @param {(pong: Frame) => void} onPong
   */
  async ping(onPong) {
    const pong = await this.request({ action: "ping" });
    if (!pong) return;
    this.beat(onPong);
    onPong(pong);
  }

  /** Ping at the next heartbeat, and so on. @param {(pong: Frame) => void} onPong */
  beat(onPong) {
    clearTimeout(this.#nextBeat);
    this.#nextBeat = setTimeout(() => this.ping(onPong), this.#heartbeatMs);
  }

  /**
   * End the link now. The browser's own close event may take minutes on a dead network, so nobody waits for it.
   *
   * @param {Loss} loss
   */
  drop(loss = { code: 0 }) {
    if (this.isLost) return;
    this.isLost = true;
    for (const timer of [this.#silence, this.#nextBeat, this.#endOfLife]) clearTimeout(timer);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#end({ reconnectAfterMs: this.#reconnectAfterMs, ...loss });
    for (const id of [...this.#owed.keys()]) this.#settle(id, null);
  }

  /** @param {string} text */
  #receive(text) {
    this.heardAt = Date.now();
    this.#watch();
    /** @type {Frame} */
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return this.drop(); // a frame we can't read may be a message: the next link reads it again from the history
    }
    this.#obey(frame);
    this.#onFrame(frame);
    // A live message repeats its author's id without being the answer; a partial frame has more of the answer behind it.
    if (frame.id && frame.type !== "message" && !frame.partial) this.#settle(frame.id, frame);
  }

  /** What a frame says of the link itself. @param {Frame} frame */
  #obey({ type, code, heartbeatMs, reconnectAfterMs, status }) {
    if (type === "connection") this.#heartbeatMs = heartbeatMs;
    if (type === "serverShutdown") this.#reconnectAfterMs = reconnectAfterMs;
    if (status === "erased") this.#reconnectAfterMs = ERASED_MS;
    const close = type === "error" && CLOSES.get(code);
    if (close) queueMicrotask(() => this.drop({ code: close })); // once its answer has reached who asked
  }

  /** @param {string} id @returns {Promise<Frame | null>} */
  #answer(id) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.drop(), ANSWER_MS);
      this.#owed.set(id, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      if (this.#owed.size === 1) this.#watch();
    });
  }

  /** @param {string} id @param {Frame | null} answer */
  #settle(id, answer) {
    const resolve = this.#owed.get(id);
    if (!resolve) return;
    this.#owed.delete(id);
    if (this.#owed.size === 0) clearTimeout(this.#silence);
    resolve(answer);
  }

  #watch() {
    clearTimeout(this.#silence);
    if (this.#owed.size > 0) this.#silence = setTimeout(() => this.drop(), SILENCE_MS);
  }
}
