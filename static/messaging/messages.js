// @ts-check
/**
 * The messages of a page: those that the server has (Thread), and what the person wrote and the server has not
 * acknowledged yet (Outbox), which survives a reload, is shared between tabs, and gets there by `delivery`.
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
 *
 * Every entry has a storage key of its own: two tabs can then add and settle at the same time without a common value
 * that one of them would overwrite with its older copy.
 *
 * @typedef {object} Draft
 * @property {string} content
 * @property {string} [quick]  key of the quick message
 * @property {string} [to]  conversation, for an admin's reply
 *
 * @typedef {Draft & {id: string, at: number, failed?: string, retryAt?: number, ack?: Frame}} Entry
 *   failed: why it won't be sent by itself, as an error code; retryAt: when the rate limit lets it be sent again;
 *   ack: the server's answer, on its way to the other tabs
 *
 * @typedef {import("./link.js").Frame} Frame
 * @typedef {import("./link.js").Link} Link
 * @typedef {(task: () => Promise<void>) => Promise<void>} InTurn  runs the task while no other tab runs its own
 */

export const MOST_ENTRIES = 50;
export const OLDEST_MS = 24 * 60 * 60 * 1000;

/** The messages of one conversation: each once, in the server's order, however and however often they arrive. */
export class Thread {
  /** Oldest first. @type {Message[]} */
  messages = [];

  /** @param {Message} message @returns {boolean} whether it is new */
  add(message) {
    let place = this.messages.length;
    while (place > 0 && this.messages[place - 1].cursor > message.cursor) place--;
    if (this.messages[place - 1]?.messageId === message.messageId) return false; // its cursor is always the same
    this.messages.splice(place, 0, message);
    return true;
  }

  get oldest() {
    return this.messages[0];
  }

  get newest() {
    return this.messages.at(-1);
  }

  clear() {
    this.messages = [];
  }
}

export class Outbox {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  #count = 0;
  #prefix;
  #storage;

  /** Called after this tab got an ack. */
  onSettled = () => {};
  /** Called with the entry after another tab got its ack. @type {(entry: Entry) => void} */
  onSettledElsewhere = () => {};
  /** Called after every change. */
  onChange = () => {};

  /**
   * @param {string} name  one per page and author
   * @param {Storage | null} storage  null: the browser forbids it; the outbox then ends with the page
   */
  constructor(name, storage) {
    this.#prefix = `${name}:`;
    this.#storage = storage;
    this.reload();
  }

  /** Read the storage again: a sleeping page misses the events of other tabs. */
  reload() {
    if (!this.#storage) return;
    this.#entries.clear();
    for (let index = 0; index < this.#storage.length; index++) {
      const key = /** @type {string} */ (this.#storage.key(index));
      if (key.startsWith(this.#prefix)) this.#read(this.#storage.getItem(key));
    }
    this.onChange();
  }

  /** Oldest first: ids begin with the time. @returns {Entry[]} */
  entries() {
    return [...this.#entries.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** The entry to send now. One that waited for a day is no longer sent without asking. @returns {Entry | undefined} */
  next() {
    for (const entry of this.entries()) {
      if (entry.failed) continue;
      if (Date.now() - entry.at < OLDEST_MS) return entry;
      this.fail(entry.id, "expired");
    }
  }

  /** @param {Draft} draft @returns {boolean} false: no room, nothing was kept, the text must stay where it is */
  add(draft) {
    if (this.#entries.size >= MOST_ENTRIES) return false;
    this.#write({ ...draft, id: this.#id(), at: Date.now() });
    return true;
  }

  /** @param {string} id @param {string} reason */
  fail(id, reason) {
    this.#change(id, { failed: reason, retryAt: undefined });
  }

  /** @param {string} id @param {number} retryAt */
  postpone(id, retryAt) {
    this.#change(id, { retryAt });
  }

  /** Send it again, under the same id: the first try may have arrived. @param {string} id */
  retry(id) {
    this.#change(id, { at: Date.now(), failed: undefined });
  }

  /** @param {string} id @param {Frame} ack */
  settle(id, ack) {
    if (!this.#entries.has(id)) return;
    this.#change(id, { ack }); // other tabs see this value, then its removal
    this.remove(id);
    this.onSettled();
  }

  /** @param {string} id */
  remove(id) {
    this.#entries.delete(id);
    this.#storage?.removeItem(this.#prefix + id);
    this.onChange();
  }

  /** Follow another tab. @param {Pick<StorageEvent, "key" | "newValue">} event */
  onStorage(event) {
    if (!event.key?.startsWith(this.#prefix)) return;
    if (event.newValue === null) this.#entries.delete(event.key.slice(this.#prefix.length));
    const entry = this.#read(event.newValue);
    if (entry?.ack) this.onSettledElsewhere(entry);
    this.onChange();
  }

  /** @param {string | null} text @returns {Entry | undefined} */
  #read(text) {
    if (text === null) return;
    /** @type {Entry} */
    const entry = JSON.parse(text);
    if (entry.ack) this.#entries.delete(entry.id);
    else this.#entries.set(entry.id, entry);
    return entry;
  }

  /** @param {string} id @param {Partial<Entry>} news */
  #change(id, news) {
    const entry = this.#entries.get(id);
    if (entry) this.#write({ ...entry, ...news });
  }

  /** @param {Entry} entry */
  #write(entry) {
    this.#entries.set(entry.id, entry);
    try {
      this.#storage?.setItem(this.#prefix + entry.id, JSON.stringify(entry));
    } catch {
      // The quota is used up: the entry still lives as long as this page.
    }
    this.onChange();
  }

  /** Sorts by creation, unique without a secure context (which crypto.randomUUID would need). */
  #id() {
    const random = crypto.getRandomValues(new Uint32Array(3));
    const parts = [Date.now(), this.#count++, ...random];
    const widths = [9, 4, 7, 7, 7];
    return parts.map((part, index) => part.toString(36).padStart(widths[index], "0")).join("");
  }
}

const BACKOFF_MS = 500;
const CAP_MS = 30_000;

/** How long to wait after so many `failures` in a row. Full jitter: who failed together does not come back together. */
export function backoff(/** @type {number} */ failures) {
  return Math.random() * Math.min(CAP_MS, BACKOFF_MS * 2 ** failures);
}

/**
 * Empties the outbox over whatever link there is: one message at a time, or a refused one would be overtaken.
 *
 * @param {Outbox} outbox
 * @param {InTurn} inTurn
 * @param {(entry: Entry, ack: Frame) => void} onAck  has to settle the entry
 * @param {() => Link | null} linkNow
 * @returns {() => Promise<void>} to be called when there is something new to send, or a new link
 */
export function delivery(outbox, inTurn, onAck, linkNow) {
  let isRunning = false;

  /** @returns {Promise<Frame | null>} the error that will pass, if there was one */
  async function one() {
    const entry = outbox.next(); // asked again: another tab may have delivered it meanwhile
    const link = linkNow();
    if (!entry || !link) return null;
    const { id, content, quick, to } = entry;
    const answer = await link.request({ action: "sendMessage", id, content, quick, to });
    if (answer?.type === "ack") onAck(entry, answer);
    if (answer?.type !== "error") return null; // without an answer the next link sends it again, under the same id
    if (link.passes(answer)) return answer;
    outbox.fail(id, answer.code);
    return null;
  }

  /** Until the message of that error may be sent again. @param {Frame} error @param {number} failures */
  function wait({ id = "", code, retryAfterMs = 0 }, failures) {
    const ms = retryAfterMs + backoff(failures);
    if (code === "rate_limited") outbox.postpone(id, Date.now() + ms);
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  return async () => {
    if (isRunning) return;
    isRunning = true;
    for (let failures = 0; linkNow()?.isLost === false && outbox.next(); ) {
      let error = /** @type {Frame | null} */ (null);
      await inTurn(async () => {
        error = await one();
      });
      if (error) await wait(error, failures++);
      else failures = 0;
    }
    isRunning = false;
  };
}
