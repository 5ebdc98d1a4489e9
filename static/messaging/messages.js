// @ts-check
/**
 * The messages of a page: those that the server has (Thread), and those of this person that the server has not
 * acknowledged yet (Outbox). An outbox survives a reload and is shared between tabs; `delivery` sends its messages.
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
 * Each entry of an outbox has its own storage key. With a common value, one of two tabs that add and settle at the same
 * time would overwrite it with an older copy.
 *
 * @typedef {object} Draft
 * @property {string} content
 * @property {string} [quick]  key of the quick message
 * @property {string} [to]  conversation, for an admin's reply
 *
 * @typedef {Draft & {id: string, at: number, failed?: string, retryAt?: number, scope?: string, ack?: Frame}} Entry
 *   failed: the error code because of which it is not sent automatically; retryAt: the time from which the limit `scope`
 *   allows the next try; ack: the server's answer, on its way to the other tabs
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

  /** Called after this tab has got an ack. */
  onSettled = () => {};
  /** Called with an entry after another tab has got its ack. @type {(entry: Entry) => void} */
  onSettledElsewhere = () => {};
  /** Called after every change. */
  onChange = () => {};

  /**
   * @param {string} name  one per page and author
   * @param {Storage | null} storage  null: the browser forbids it; then the outbox ends with the page
   */
  constructor(name, storage) {
    this.#prefix = `${name}:`;
    this.#storage = storage;
    this.reload();
  }

  /** Read the storage again: a suspended page misses the events of other tabs. */
  reload() {
    if (!this.#storage) return;
    this.#entries.clear();
    for (let index = 0; index < this.#storage.length; index++) {
      const key = /** @type {string} */ (this.#storage.key(index));
      if (key.startsWith(this.#prefix)) this.#read(this.#storage.getItem(key));
    }
    this.onChange();
  }

  /** Return the entries, oldest first: ids begin with the time. @returns {Entry[]} */
  entries() {
    return [...this.#entries.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Return the entry to send now. After a day an entry fails, for a person to decide. @returns {Entry | undefined} */
  next() {
    for (const entry of this.entries()) {
      if (entry.failed) continue;
      if (Date.now() - entry.at < OLDEST_MS) return entry;
      this.fail(entry.id, "expired");
    }
  }

  /** @param {Draft} draft @returns {boolean} false: no room, nothing was kept, so the text must stay where it is */
  add(draft) {
    if (this.#entries.size >= MOST_ENTRIES) return false;
    this.#write({ ...draft, id: this.#id(), at: Date.now() });
    return true;
  }

  /** @param {string} id @param {string} reason */
  fail(id, reason) {
    this.#change(id, { failed: reason, retryAt: undefined });
  }

  /** @param {string} id @param {number} retryAt @param {string} [scope] */
  postpone(id, retryAt, scope) {
    this.#change(id, { retryAt, scope });
  }

  /** Send an entry again, with the same id, because the first try may have arrived. @param {string} id */
  retry(id) {
    this.#change(id, { at: Date.now(), failed: undefined });
  }

  /** @param {string} id @param {Frame} ack */
  settle(id, ack) {
    if (!this.#entries.has(id)) return;
    this.#change(id, { ack }); // other tabs get this value, then its removal
    this.remove(id);
    this.onSettled();
  }

  /** @param {string} id */
  remove(id) {
    this.#entries.delete(id);
    this.#storage?.removeItem(this.#prefix + id);
    this.onChange();
  }

  /** Apply a change that another tab made. @param {Pick<StorageEvent, "key" | "newValue">} event */
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

  /** Return an id: sortable by creation, unique, and possible without a secure context, unlike crypto.randomUUID. */
  #id() {
    const random = crypto.getRandomValues(new Uint32Array(3));
    const parts = [Date.now(), this.#count++, ...random];
    const widths = [9, 4, 7, 7, 7];
    return parts.map((part, index) => part.toString(36).padStart(widths[index], "0")).join("");
  }
}

const BACKOFF_MS = 500;
const CAP_MS = 30_000;

/** Return the ms to wait after `failures` in a row. Full jitter: clients that fail together don't return together. */
export function backoff(/** @type {number} */ failures) {
  return Math.random() * Math.min(CAP_MS, BACKOFF_MS * 2 ** failures);
}

/**
 * Empty the outbox over the current link, one message at a time: otherwise later ones would overtake a refused one.
 *
 * @param {Outbox} outbox
 * @param {InTurn} inTurn
 * @param {(entry: Entry, ack: Frame) => void} onAck  must settle the entry
 * @param {() => Link | null} linkNow
 * @returns {(now?: boolean) => Promise<void>} a function to call after each new entry and each new link; now: without
 *   waiting any longer, because the reason of the last refusal is gone
 */
export function delivery(outbox, inTurn, onAck, linkNow) {
  let isRunning = false;
  let proceed = () => {};

  /** @returns {Promise<Frame | null>} the error, if there was one after which a retry may succeed */
  async function one() {
    const entry = outbox.next(); // called again: another tab may have delivered the entry meanwhile
    const link = linkNow();
    if (!entry || !link) return null;
    const { id, content, quick, to } = entry;
    const answer = await link.request({ action: "sendMessage", id, content, quick, to });
    if (answer?.type === "ack") onAck(entry, answer);
    if (answer?.type !== "error") return null; // without an answer, the next link sends it again, with the same id
    if (link.passes(answer)) return answer;
    outbox.fail(id, answer.code);
    return null;
  }

  /** Wait until the message that got `error` may be sent again. @param {Frame} error @param {number} failures */
  function wait({ id = "", code, scope, retryAfterMs = 0 }, failures) {
    const ms = retryAfterMs + backoff(failures);
    if (code === "rate_limited") outbox.postpone(id, Date.now() + ms, scope);
    return new Promise((/** @type {(value?: any) => void} */ resolve) => {
      proceed = resolve;
      setTimeout(resolve, ms);
    });
  }

  return async (now) => {
    if (now) proceed();
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
