// @ts-check
/** The parts of a conversation that both pages show: its messages and the field to write in. */

import { OutboxFull } from "./outbox.js";
import { byId, clockTime, storage } from "./page.js";

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

/** Runs `task` once for all calls of this moment. @param {() => void} task */
export function together(task) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    setTimeout(() => {
      due = false;
      task();
    });
  };
}

/** The messages of a conversation, and below them those that the server has not acknowledged. */
export class ThreadView {
  #own;
  #onRetry;
  #onDiscard;

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

  /** @param {Message[]} messages @param {Entry[]} entries @param {boolean} [toEnd]  scroll there in any case */
  show(messages, entries, toEnd = false) {
    const log = byId("log");
    const list = byId("messages");
    const atEnd = toEnd || log.scrollHeight - log.scrollTop - log.clientHeight < 48;
    const height = log.scrollHeight;
    const first = list.firstElementChild;
    reconcile(
      list,
      [...messages, ...entries],
      (item) => item.id ?? /** @type {Message} */ (item).messageId,
      () => this.#create(),
      (element, item) => this.#update(element, item),
    );
    if (atEnd) log.scrollTop = log.scrollHeight;
    else if (first !== list.firstElementChild) log.scrollTop += log.scrollHeight - height; // older ones came on top
  }

  #create() {
    const element = clone("message-template");
    const id = () => element.dataset.key ?? "";
    within(element, "retry").addEventListener("click", () => this.#onRetry(id()));
    within(element, "discard").addEventListener("click", () => this.#onDiscard(id()));
    return element;
  }

  /** @param {HTMLElement} element @param {Message | Entry} item */
  #update(element, item) {
    const failed = "at" in item && item.failed;
    const state = !("at" in item) ? "sent" : failed ? "failed" : "waiting";
    if (element.dataset.state === state) return;
    element.dataset.state = state;
    element.dataset.own = String("at" in item || item.from === this.#own);
    within(element, "content").textContent = item.content;
    within(element, "actions").hidden = !failed;
    const words = { sent: element.dataset.own === "true" ? "Sent" : "", waiting: "Waiting", failed: `Not sent: ${failed}` };
    within(element, "state").textContent = words[state];
    within(element, "author").textContent = ("author" in item && item.author) || "";
    const moment = "at" in item ? item.at : item.timestamp;
    within(element, "time").textContent = clockTime(moment);
    within(element, "time").dateTime = new Date(moment).toISOString();
  }
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

  /** @param {(content: string) => void} send */
  #submit(send) {
    const content = this.#field.value.trim();
    if (!content || this.#tooLong()) return this.#field.focus();
    if (!attempt(() => send(content))) return;
    this.#field.value = "";
    this.#changed();
    this.#field.focus();
  }

  #tooLong() {
    return [...this.#field.value.trim()].length > CONTENT_LIMIT;
  }

  #changed() {
    const { value } = this.#field;
    const count = [...value.trim()].length;
    byId("counter").textContent = count >= COUNT_FROM ? `${count} of ${CONTENT_LIMIT} characters` : "";
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
    notice("Too many messages are waiting already. Please send this one later.");
    return false;
  }
}

/** @param {string} text */
function notice(text) {
  byId("notice").textContent = text;
}
