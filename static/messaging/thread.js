// @ts-check
/**
 * @typedef {object} Message
 * @property {string} messageId
 * @property {string} content
 * @property {string} timestamp
 * @property {"user" | "admin"} from
 * @property {string} cursor
 * @property {string} [conversation]
 * @property {string} [id]
 * @property {string} [author]
 */

/** The messages of one conversation: each once, in the server's order, however and however often they arrive. */
export class Thread {
  /** @type {Set<string>} */
  #known = new Set();
  /** Oldest first. @type {Message[]} */
  messages = [];

  /** @param {Message} message @returns {boolean} whether it is new */
  add(message) {
    if (this.#known.has(message.messageId)) return false;
    this.#known.add(message.messageId);
    let place = this.messages.length;
    while (place > 0 && this.messages[place - 1].cursor > message.cursor) place--;
    this.messages.splice(place, 0, message);
    return true;
  }

  get oldest() {
    return this.messages.at(0);
  }

  get newest() {
    return this.messages.at(-1);
  }

  clear() {
    this.#known.clear();
    this.messages = [];
  }
}
