// @ts-check
import { backoff, PASSING } from "./link.js";

/**
 * @typedef {import("./link.js").Frame} Frame
 * @typedef {import("./link.js").Link} Link
 * @typedef {import("./outbox.js").Entry} Entry
 * @typedef {import("./outbox.js").Outbox} Outbox
 *
 * Runs the task while no other tab runs its own:
 * @typedef {(task: () => Promise<void>) => Promise<void>} InTurn
 */

/** Empties the outbox over whatever link there is: one message at a time, or a refused one would be overtaken. */
export class Delivery {
  /** @type {Link | null} */
  link = null;
  #running = false;
  #outbox;
  #environment;
  #inTurn;
  #onAck;

  /**
   * @param {Outbox} outbox
   * @param {import("./link.js").Environment} environment
   * @param {InTurn} inTurn
   * @param {(entry: Entry, ack: Frame) => void} onAck  has to settle the entry
   */
  constructor(outbox, environment, inTurn, onAck) {
    this.#outbox = outbox;
    this.#environment = environment;
    this.#inTurn = inTurn;
    this.#onAck = onAck;
  }

  /** To be called when there is something new to send, or a new link. */
  async run() {
    if (this.#running) return;
    this.#running = true;
    for (let failures = 0; this.#open() && this.#outbox.next(); ) {
      let error = /** @type {Frame | null} */ (null);
      await this.#inTurn(async () => {
        error = await this.#one();
      });
      if (error) await this.#wait((error.retryAfterMs ?? 0) + backoff(this.#environment, failures++));
      else failures = 0;
    }
    this.#running = false;
  }

  #open() {
    return this.link !== null && !this.link.isLost;
  }

  /** @returns {Promise<Frame | null>} the error that will pass, if there was one */
  async #one() {
    const entry = this.#outbox.next(); // asked again: another tab may have delivered it meanwhile
    if (!entry || !this.link) return null;
    const { id, content, quick, to } = entry;
    const answer = await this.link.request({ action: "sendMessage", id, content, quick, to });
    if (answer?.type === "ack") this.#onAck(entry, answer);
    if (answer?.type !== "error") return null; // without an answer the next link sends it again, under the same id
    if (PASSING.has(answer.code)) return answer;
    this.#outbox.fail(id, answer.message);
    return null;
  }

  /** @param {number} ms */
  #wait(ms) {
    return new Promise((resolve) => this.#environment.setTimeout(() => resolve(undefined), ms));
  }
}
