// @ts-check
/**
 * One WebSocket, from dialling to its end: frames go out as requests, answers are matched by id, and silence ends it.
 *
 * @typedef {{type?: string, id?: string, [field: string]: any}} Frame
 * @typedef {{code: number, reason?: string, retryAfterMs?: number}} Loss  why a link ended; code 0: we gave it up
 *
 * What a browser gives and a test replaces:
 * @typedef {object} Environment
 * @property {typeof WebSocket} WebSocket
 * @property {(task: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now
 * @property {() => number} random
 */

/** How long an owed answer may take while nothing at all arrives. A dead network gives no other sign. */
export const SILENCE_MS = 10_000;
/** How long it may take while other frames do arrive: this one answer got lost on its way. */
const ANSWER_MS = 30_000;
const OPENING = "opening";
const BACKOFF_MS = 500;
const BACKOFF_CAP_MS = 30_000;

/** Error codes after which the same frame may succeed. */
export const PASSING = new Set(["rate_limited", "unavailable"]);

/** @type {Environment} */
export const browser = {
  WebSocket: globalThis.WebSocket,
  setTimeout: (task, ms) => setTimeout(task, ms),
  clearTimeout: (timer) => clearTimeout(timer),
  now: () => Date.now(),
  random: () => Math.random(),
};

/**
 * How long to wait after so many failures in a row. Full jitter: clients that failed together do not come back together.
 *
 * @param {Environment} environment
 * @param {number} failures
 */
export function backoff(environment, failures) {
  return environment.random() * Math.min(BACKOFF_CAP_MS, BACKOFF_MS * 2 ** failures);
}

export class Link {
  /** @type {Map<string, (answer: Frame | null) => void>} */
  #owed = new Map();
  #requests = 0;
  /** @type {any} */
  #silence = null;
  #socket;
  #environment;
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
   * @param {(frame: Frame) => void} onFrame  sees every frame, before the answer reaches who asked
   * @param {Environment} environment
   */
  constructor(url, onFrame, environment) {
    this.#environment = environment;
    this.#onFrame = onFrame;
    this.heardAt = environment.now();
    this.lost = new Promise((resolve) => (this.#end = resolve));
    this.opened = this.#answer(OPENING).then((frame) => frame !== null);
    const socket = (this.#socket = new environment.WebSocket(url));
    socket.onopen = () => this.#settle(OPENING, {});
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.drop({ code: event.code, reason: event.reason });
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

  /**
   * End the link now. The browser's own close event may take minutes on a dead network, so nobody waits for it.
   *
   * @param {Loss} loss
   */
  drop(loss = { code: 0 }) {
    if (this.isLost) return;
    this.isLost = true;
    this.#environment.clearTimeout(this.#silence);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#end(loss);
    for (const id of [...this.#owed.keys()]) this.#settle(id, null);
  }

  /** @param {string} text */
  #receive(text) {
    this.heardAt = this.#environment.now();
    this.#watch();
    /** @type {Frame} */
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return this.drop(); // a frame we can't read may be a message: the next link reads it again from the history
    }
    this.#onFrame(frame);
    // A live message repeats its author's id without being the answer; a partial frame has more of the answer behind it.
    if (frame.id && frame.type !== "message" && !frame.partial) this.#settle(frame.id, frame);
  }

  /** @param {string} id @returns {Promise<Frame | null>} */
  #answer(id) {
    return new Promise((resolve) => {
      const timer = this.#environment.setTimeout(() => this.drop(), ANSWER_MS);
      this.#owed.set(id, (answer) => {
        this.#environment.clearTimeout(timer);
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
    if (this.#owed.size === 0) this.#environment.clearTimeout(this.#silence);
    resolve(answer);
  }

  #watch() {
    this.#environment.clearTimeout(this.#silence);
    if (this.#owed.size > 0) this.#silence = this.#environment.setTimeout(() => this.drop(), SILENCE_MS);
  }
}
