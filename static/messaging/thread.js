// @ts-check
/**
 * The messages that a page has, and the place in the server's log up to which none is missing.
 *
 * @typedef {import("./link.js").Frame} Frame
 * @typedef {import("./link.js").Link} Link
 *
 * @typedef {object} Message
 * @property {string} messageId
 * @property {string} content
 * @property {string} timestamp
 * @property {"user" | "admin"} from
 * @property {string} cursor
 * @property {string} [conversation]
 * @property {string} [id]
 * @property {string} [author]
 * @property {string} [quick]  key of the quick message that was tapped
 */

export const PAGE = 100;

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
