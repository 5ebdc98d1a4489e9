// @ts-check
/** The list of conversations. While a person is at it, it holds still: what is new waits behind a button. */

import { Window } from "./conversations.js";
import { byId, clockTime, configuration, text } from "./page.js";
import { counted } from "./staff.js";
import { clone, keepPlace, reconcile, within } from "./view.js";

/** @typedef {import("./conversations.js").Conversation} Conversation */

const STEPS = /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ ([
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
]);
const relative = new Intl.RelativeTimeFormat(configuration.language, { style: "narrow" });

/** @param {string} timestamp @param {number} now */
function age(timestamp, now) {
  const seconds = (now - Date.parse(timestamp)) / 1000;
  const step = STEPS.find(([, length]) => seconds >= length);
  return step ? relative.format(-Math.floor(seconds / step[1]), step[0]) : text("now");
}

export class ConversationList {
  #pane = byId("list");
  #list = byId("conversations");
  #window = new Window();
  /** What is shown, the newest first. @type {Conversation[]} */
  #shown = [];
  /** The newest of those that were there when the list was last sorted. */
  #sorted = "";
  /** @type {Conversation[]} */
  #all = [];
  #render;

  /** @param {() => void} render  shows the page anew */
  constructor(render) {
    this.#render = render;
    for (const event of ["pointerleave", "focusout", "scrollend"]) {
      this.#pane.addEventListener(event, () => this.#isHeld() || render());
    }
    byId("new-conversations").addEventListener("click", () => this.renew());
    byId("newer-conversations").addEventListener("click", () => this.#move(1));
  }

  get hasOlder() {
    return this.#window.of(this.#all).before > 0;
  }

  /** Everything anew, from the top: the person asks for it, or wants to see other ones. */
  renew() {
    this.#window.follow();
    this.reset();
    this.#pane.scrollTop = 0;
    this.#render();
  }

  /** What is shown belongs to a list that is no more. */
  reset() {
    this.#shown = [];
  }

  /** Further into the past. */
  back() {
    this.#move(-1);
  }

  /** @param {Conversation[]} conversations  that the person wants to see, the newest last @param {string} opened @param {number} now */
  show(conversations, opened, now) {
    this.#all = conversations;
    const { items, after } = this.#window.of(conversations);
    const isHeld = this.#shown.length > 0 && this.#isHeld();
    if (isHeld) {
      const older = items.filter((each) => each.cursor <= this.#sorted && !this.#shown.includes(each));
      this.#shown = [...this.#shown, ...older.reverse()].filter(({ isErased }) => !isErased);
    } else {
      this.#shown = items.toReversed();
      this.#sorted = conversations.at(-1)?.cursor ?? "";
    }
    const arrived = isHeld ? conversations.filter(({ asked }) => asked > this.#sorted) : [];
    const pill = byId("new-conversations");
    pill.hidden = !arrived.some((each) => each !== this.#shown[0]);
    pill.textContent = counted("newHere", arrived.length);
    byId("newer-conversations").hidden = !after;
    reconcile(
      this.#list,
      this.#shown,
      ({ id }) => id,
      () => clone("conversation-template"),
      (item, conversation) => update(item, conversation, conversation.id === opened, now),
    );
  }

  /** Focus the conversation that is `by` rows away from the focus, or else from the open one. @param {number} by @param {string} opened */
  step(by, opened) {
    const links = [...this.#list.querySelectorAll("a")];
    const focused = links.findIndex((link) => link === document.activeElement);
    const from = focused < 0 ? links.findIndex((link) => link.hash.slice(1) === opened) : focused;
    const link = links[from < 0 ? 0 : Math.min(Math.max(from + by, 0), links.length - 1)];
    if (!link) return;
    if (link.checkVisibility()) link.focus();
    else location.hash = link.hash; // the list is behind the open conversation
  }

  #isHeld() {
    const isPointed = this.#list.matches(":hover") && matchMedia("(hover: hover)").matches;
    return this.#pane.scrollTop > 0 || this.#list.contains(document.activeElement) || isPointed;
  }

  /** @param {-1 | 1} by */
  #move(by) {
    keepPlace(this.#pane, this.#list, () => {
      this.#window.move(this.#all, by);
      this.reset();
      this.#render();
    });
  }
}

/** @param {HTMLElement} item @param {Conversation} conversation @param {boolean} isOpen @param {number} now */
function update(item, conversation, isOpen, now) {
  const { id, name, thread, state, isUnread, isClosed } = conversation;
  const newest = /** @type {import("./thread.js").Message} */ (thread.newest);
  const when = age(newest.timestamp, now);
  const isBlocked = conversation.isBlocked(now);
  const claimer = state.claimedBy?.name ?? "";
  const looks = JSON.stringify([newest.messageId, when, isOpen, isUnread, isClosed, isBlocked, claimer]);
  if (item.dataset.looks === looks) return; // a flood moves many rows and changes few
  item.dataset.looks = looks;
  const link = within(item, "link");
  link.setAttribute("href", `#${id}`);
  if (isOpen) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
  item.classList.toggle("is-unread", isUnread);
  within(item, "unread").hidden = !isUnread;
  within(item, "name").textContent = name;
  within(item, "time").textContent = when;
  within(item, "time").dateTime = newest.timestamp;
  within(item, "time").title = clockTime(newest.timestamp);
  within(item, "last").textContent = newest.content;
  within(item, "last").dataset.from = newest.from;
  within(item, "claim").hidden = !claimer;
  within(item, "claimer").textContent = claimer;
  within(item, "closed").hidden = !isClosed;
  within(item, "blocked").hidden = !isBlocked;
}
