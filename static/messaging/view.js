// @ts-check
/** The parts of a conversation that both pages show: its messages and the field to write in. */

import { OutboxFull } from "./outbox.js";
import { byId, clockTime, configuration, storage, text } from "./page.js";

/**
 * @typedef {import("./thread.js").Message} Message
 * @typedef {import("./outbox.js").Entry} Entry
 */

export const CONTENT_LIMIT = 2000;
const COUNT_FROM = 1600;

/**
 * Make the children of `list` those of `items`, in order. A child stays the same element for as long as its item is
 * there: screen readers, focus and scrolling depend on it.
 *
 * @template T
 * @param {HTMLElement} list
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {() => HTMLElement} create
 * @param {(element: HTMLElement, item: T) => void} update
 */
export function reconcile(list, items, keyOf, create, update) {
  const known = new Map([...list.children].map((child) => [/** @type {HTMLElement} */ (child).dataset.key, child]));
  let place = list.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const element = /** @type {HTMLElement} */ (known.get(key) ?? create());
    element.dataset.key = key;
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else list.insertBefore(element, place);
  }
  while (place) {
    const next = place.nextElementSibling;
    place.remove();
    place = next;
  }
}

/** @param {string} template @returns {HTMLElement} */
export function clone(template) {
  return byId(template).content.firstElementChild.cloneNode(true);
}

/** @param {HTMLElement} element @param {string} part @returns {any} */
export function within(element, part) {
  return element.querySelector(`[data-part="${part}"]`);
}

/** Runs `task` once for all calls of this moment, or of so many milliseconds. @param {() => void} task @param {number} [ms] */
export function together(task, ms) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    setTimeout(() => {
      due = false;
      task();
    }, ms);
  };
}

/**
 * Do what changes `list`, and leave what the person looks at where it is.
 *
 * @param {HTMLElement} scroller
 * @param {HTMLElement} list
 * @param {() => void} change
 */
export function keepPlace(scroller, list, change) {
  const top = scroller.getBoundingClientRect().top;
  const first = [...list.children].find((child) => child.getBoundingClientRect().bottom > top);
  const place = first?.getBoundingClientRect().top ?? 0;
  change();
  if (first?.isConnected) scroller.scrollTop += first.getBoundingClientRect().top - place;
}

/** How long a text that is read out stands still, so that the same text is read out again. */
const SAY_MS = 100;

/** Have a screen reader say it. @param {string} words */
export function say(words) {
  byId("said").textContent = "";
  setTimeout(() => (byId("said").textContent = words), SAY_MS);
}

/** How many whole seconds are left until then. @param {number} moment */
export function secondsUntil(moment) {
  return Math.max(0, Math.ceil((moment - Date.now()) / 1000));
}

/** The messages of a conversation, and below them those that the server has not acknowledged. */
export class ThreadView {
  #own;
  #onRetry;
  #onDiscard;
  #seen = "";
  /** What has been said of each message. @type {WeakMap<HTMLElement, string>} */
  #shown = new WeakMap();

  /**
   * @param {"user" | "admin"} own  whose messages stand on the right
   * @param {(id: string) => void} onRetry
   * @param {(id: string) => void} onDiscard
   */
  constructor(own, onRetry, onDiscard) {
    this.#own = own;
    this.#onRetry = onRetry;
    this.#onDiscard = onDiscard;
  }

  /**
   * @param {Message[]} messages
   * @param {Entry[]} entries
   * @param {boolean} [toEnd]  scroll there in any case
   * @param {string} [seen]  cursor of the newest message that the other side has read
   * @returns {boolean} whether the end is in view
   */
  show(messages, entries, toEnd = false, seen = "") {
    this.#seen = seen;
    const log = byId("log");
    const list = byId("messages");
    const atEnd = toEnd || log.scrollHeight - log.scrollTop - log.clientHeight < 48;
    const change = () =>
      reconcile(
        list,
        [...messages, ...entries],
        (item) => item.id ?? /** @type {Message} */ (item).messageId,
        () => this.#create(),
        (element, item) => this.#update(element, item),
      );
    if (atEnd) change();
    else keepPlace(log, list, change);
    if (atEnd) log.scrollTop = log.scrollHeight;
    return atEnd;
  }

  #create() {
    const element = clone("message-template");
    const id = () => element.dataset.key ?? "";
    const copy = () => navigator.clipboard.writeText(within(element, "content").textContent).then(() => say(text("copied")));
    within(element, "retry").addEventListener("click", () => this.#onRetry(id()));
    within(element, "copy").addEventListener("click", copy);
    within(element, "copy").hidden = !navigator.clipboard; // a page without TLS has none
    within(element, "discard").addEventListener("click", () => this.#onDiscard(id()));
    return element;
  }

  /** @param {HTMLElement} element @param {Message | Entry} item */
  #update(element, item) {
    const waits = "at" in item;
    const state = !waits ? "sent" : item.failed ? "failed" : "waiting";
    const isSeen = !waits && item.cursor <= this.#seen;
    const words = waits ? outboxWords(item) : item.from !== this.#own ? "" : text(isSeen ? "seen" : "sent");
    const shown = state + words;
    if (this.#shown.get(element) === shown) return; // a thread may be long, and little of it changes
    this.#shown.set(element, shown);
    within(element, "state").textContent = words;
    element.dataset.seen = String(isSeen);
    element.dataset.state = state;
    element.dataset.own = String(waits || item.from === this.#own);
    within(element, "content").textContent = item.content;
    within(element, "actions").hidden = state !== "failed";
    within(element, "author").textContent = (!waits && item.author) || "";
    const moment = waits ? item.at : item.timestamp;
    within(element, "time").textContent = clockTime(moment);
    within(element, "time").dateTime = new Date(moment).toISOString();
  }
}

/** What has become of a message that the server does not have. @param {Entry} entry */
function outboxWords({ failed, retryAt = 0 }) {
  if (failed) return configuration.texts[`failed_${failed}`] ?? text("failed");
  const seconds = secondsUntil(retryAt);
  return seconds ? text("limited", { seconds }) : text("waiting");
}

/** The field to write in; its text survives a reload. */
export class Composer {
  #form = byId("composer");
  #field = byId("text");
  #draftKey = "";

  /**
   * @param {(content: string) => void} send  throws OutboxFull
   * @param {(event: KeyboardEvent) => boolean} isSendKey
   */
  constructor(send, isSendKey) {
    this.#form.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#submit(send);
    });
    this.#field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" || event.isComposing || !isSendKey(event)) return;
      event.preventDefault();
      this.#submit(send);
    });
    this.#field.addEventListener("input", () => this.#changed());
  }

  /** Write on where this draft was left. @param {string} key */
  open(key) {
    if (key === this.#draftKey) return;
    this.#draftKey = key;
    this.#field.value = storage?.getItem(key) ?? "";
    this.#changed();
  }

  /** Add to the draft; the person goes on behind it. @param {string} words */
  insert(words) {
    const { value } = this.#field;
    this.#field.value = value.trim() ? `${value.trimEnd()}\n${words}` : words;
    this.#changed();
    this.#field.focus();
    this.#field.setSelectionRange(-1, -1);
  }

  /** @param {(content: string) => void} send */
  #submit(send) {
    const content = this.#field.value.trim();
    if (!content || this.#tooLong()) return this.#field.focus();
    if (!attempt(() => send(content))) return;
    this.clear();
    this.#field.focus();
  }

  clear() {
    this.#field.value = "";
    this.#changed();
  }

  #tooLong() {
    return [...this.#field.value.trim()].length > CONTENT_LIMIT;
  }

  #changed() {
    const { value } = this.#field;
    const count = [...value.trim()].length;
    byId("counter").textContent = count < COUNT_FROM ? "" : text("count", { count, limit: CONTENT_LIMIT });
    this.#field.setAttribute("aria-invalid", String(this.#tooLong()));
    notice("");
    try {
      if (value) storage?.setItem(this.#draftKey, value);
      else storage?.removeItem(this.#draftKey);
    } catch {
      // No room for a draft: it lives as long as the page.
    }
  }
}

/** Do what fills the outbox; says so when there is no room. @param {() => void} task @returns {boolean} */
export function attempt(task) {
  try {
    task();
    return true;
  } catch (error) {
    if (!(error instanceof OutboxFull)) throw error;
    notice(text("full"));
    return false;
  }
}

/** @param {string} words */
export function notice(words) {
  byId("notice").textContent = words;
}
