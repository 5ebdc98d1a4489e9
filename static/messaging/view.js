// @ts-check
/** The parts of a conversation that both pages show: its messages and the field to write in. */

import { byId, clockTime, configuration, storage, text } from "./page.js";

/**
 * @typedef {import("./messages.js").Message} Message
 * @typedef {import("./messages.js").Entry} Entry
 */

const CONTENT_LIMIT = 2000;
const COUNT_FROM = 1600;

/**
 * Make the children of `list` match `items`, in order. An item keeps its element for as long as it is in the list:
 * screen readers, focus and scrolling depend on that.
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

/** Set properties of parts. @param {HTMLElement} element @param {Record<string, object>} parts  by name */
export function fill(element, parts) {
  for (const part in parts) Object.assign(within(element, part), parts[part]);
}

/**
 * Return a function that runs `task` once for all calls at the same moment, or within `ms` milliseconds.
 *
 * @param {() => void} task
 * @param {number} [ms]
 */
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
 * Change `list`, but keep the elements in view where they are.
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

/** How long the text to be read out is empty before each text, so that the same text is read out again. */
const SAY_MS = 100;

/** Have a screen reader read `words` out. @param {string} words */
export function say(words) {
  byId("said").textContent = "";
  setTimeout(() => (byId("said").textContent = words), SAY_MS);
}

/** Return the number of whole seconds until `moment`, rounded up. @param {number} moment */
export function secondsUntil(moment) {
  return Math.max(0, Math.ceil((moment - Date.now()) / 1000));
}

/**
 * Return a function that shows the messages of a conversation, and below them those that are not acknowledged.
 *
 * @param {"user" | "admin"} own  the side whose messages are on the right
 * @param {import("./connection.js").Connection} connection
 * @param {import("./messages.js").Outbox} outbox
 */
export function threadView(own, connection, outbox) {
  const log = byId("log");
  const list = byId("messages");
  /** The state and its text that each message shows. @type {WeakMap<HTMLElement, string>} */
  const said = new WeakMap();

  function create() {
    const element = clone("message-template");
    const id = () => element.dataset.key ?? "";
    const copy = within(element, "copy");
    copy.onclick = () =>
      navigator.clipboard.writeText(within(element, "content").textContent).then(() => say(text("copied")));
    copy.hidden = !navigator.clipboard; // a page without TLS has no clipboard
    within(element, "retry").onclick = () => connection.retry(id());
    within(element, "discard").onclick = () => outbox.remove(id());
    return element;
  }

  /** @param {HTMLElement} element @param {Message | Entry} item @param {string} seen */
  function update(element, item, seen) {
    const waits = "at" in item;
    const state = !waits ? "sent" : item.failed ? "failed" : "waiting";
    const isSeen = !waits && item.cursor <= seen;
    const words = waits ? outboxWords(item) : item.from !== own ? "" : text(isSeen ? "seen" : "sent");
    const shown = state + words;
    if (said.get(element) === shown) return; // a thread may be long, but little of it changes
    said.set(element, shown);
    const moment = waits ? item.at : item.timestamp;
    Object.assign(element.dataset, { seen: isSeen, state, own: waits || item.from === own });
    fill(element, {
      state: { textContent: words },
      content: { textContent: item.content },
      actions: { hidden: state !== "failed" },
      author: { textContent: (!waits && item.author) || "" },
      time: { textContent: clockTime(moment), dateTime: new Date(moment).toISOString() },
    });
  }

  /**
   * @param {Message[]} messages
   * @param {Entry[]} entries
   * @param {boolean} toEnd  scroll to the end in any case
   * @param {string} seen  the cursor of the newest message that the other side has read
   * @returns {boolean} whether the end is in view
   */
  return (messages, entries, toEnd, seen) => {
    const atEnd = toEnd || log.scrollHeight - log.scrollTop - log.clientHeight < 48;
    const change = () =>
      reconcile(
        list,
        [...messages, ...entries],
        (item) => item.id ?? /** @type {Message} */ (item).messageId,
        create,
        (element, item) => update(element, item, seen),
      );
    if (atEnd) change();
    else keepPlace(log, list, change);
    if (atEnd) log.scrollTop = log.scrollHeight;
    return atEnd;
  };
}

/** Return the text for the state of a message that the server does not have. @param {Entry} entry */
function outboxWords({ failed, retryAt = 0, scope }) {
  if (failed) return configuration.texts[`failed_${failed}`] ?? text("failed");
  const seconds = secondsUntil(retryAt);
  if (!seconds) return text("waiting");
  return configuration.texts[`kept_${scope}`] ?? text("limited", { seconds }); // others have used up the limit, or not
}

/**
 * Set up the field to write in, whose text survives a reload.
 *
 * @param {(content: string) => boolean} send  returns false if there is no room
 * @param {(event: KeyboardEvent) => boolean} isSendKey
 */
export function composer(send, isSendKey) {
  const field = byId("text");
  let draftKey = "";
  const content = () => field.value.trim();
  const length = () => [...content()].length;

  function changed() {
    const { value } = field;
    const count = length();
    byId("counter").textContent = count < COUNT_FROM ? "" : text("count", { count, limit: CONTENT_LIMIT });
    field.setAttribute("aria-invalid", count > CONTENT_LIMIT);
    notice("");
    try {
      if (value) storage?.setItem(draftKey, value);
      else storage?.removeItem(draftKey);
    } catch {
      // The storage is full: the draft lives as long as the page.
    }
  }

  /** @param {string} value */
  function write(value) {
    field.value = value;
    changed();
  }

  /** @param {Event} event */
  function submit(event) {
    event.preventDefault();
    if (content() && length() <= CONTENT_LIMIT) {
      if (!send(content())) return notice(text("full"));
      write("");
    }
    field.focus();
  }

  byId("composer").onsubmit = submit;
  field.onkeydown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && !event.isComposing && isSendKey(event)) submit(event);
  };
  field.oninput = changed;

  return {
    clear: () => write(""),

    /** Continue the draft with this key. @param {string} key @param {string} [typed]  a text that replaces the draft */
    open(key, typed) {
      if (key === draftKey) return;
      draftKey = key;
      write(typed || (storage?.getItem(key) ?? ""));
    },
  };
}

/** @param {string} words */
export function notice(words) {
  byId("notice").textContent = words;
}
