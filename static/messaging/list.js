// @ts-check
/** The list of conversations. While a person uses it, it does not move: new messages wait behind a button. */

import { Window } from "./conversations.js";
import { byId, clockTime, configuration, text } from "./page.js";
import { clone, fill, keepPlace, reconcile, within } from "./view.js";

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

/** @param {() => void} render  renders the whole page */
export function conversationList(render) {
  const pane = byId("list");
  const list = byId("conversations");
  const pill = byId("new-conversations");
  const newer = byId("newer-conversations");
  const slice = new Window();
  /** The shown conversations, the newest first. @type {Conversation[]} */
  let shown = [];
  /** The cursor of the newest message when the list was last sorted. */
  let sorted = "";
  /** @type {Conversation[]} */
  let all = [];

  function isHeld() {
    const isPointed = list.matches(":hover") && matchMedia("(hover: hover)").matches;
    return pane.scrollTop > 0 || list.contains(document.activeElement) || isPointed;
  }

  /** @param {-1 | 1} by */
  function move(by) {
    keepPlace(pane, list, () => {
      slice.move(all, by);
      reset();
      render();
    });
  }

  /** Forget the shown conversations, which belong to an old list. */
  function reset() {
    shown = [];
  }

  /** Build the list anew, from the top: the person has asked for that, or for other conversations. */
  function renew() {
    slice.follow();
    reset();
    pane.scrollTop = 0;
    render();
  }

  /**
   * @param {Conversation[]} conversations  those that match the filter and the search, the newest last
   * @param {string} opened
   * @param {number} now
   */
  function show(conversations, opened, now) {
    all = conversations;
    const { items, after } = slice.of(all);
    const holds = shown.length > 0 && isHeld();
    if (holds) {
      const older = items.filter((each) => each.cursor <= sorted && !shown.includes(each));
      shown = [...shown, ...older.reverse()].filter(({ state }) => state.status !== "erased");
    } else {
      shown = items.toReversed();
      sorted = all.at(-1)?.cursor ?? "";
    }
    const arrived = holds ? all.filter(({ asked }) => asked > sorted) : [];
    pill.hidden = !arrived.some((each) => each !== shown[0]);
    pill.textContent = text("newHere", { count: arrived.length });
    newer.hidden = !after;
    reconcile(
      list,
      shown,
      ({ id }) => id,
      () => clone("conversation-template"),
      (item, conversation) => update(item, conversation, conversation.id === opened, now),
    );
  }

  /**
   * Focus the conversation that is `by` rows away from the focused one, or else from the open one.
   *
   * @param {number} by
   * @param {string} opened
   */
  function step(by, opened) {
    const links = [...list.querySelectorAll("a")];
    const focused = links.indexOf(/** @type {any} */ (document.activeElement));
    const from = focused < 0 ? links.findIndex((link) => link.hash.slice(1) === opened) : focused;
    const link = links[from < 0 ? 0 : Math.min(Math.max(from + by, 0), links.length - 1)];
    if (!link) return;
    if (link.checkVisibility()) link.focus();
    else location.hash = link.hash; // the open conversation hides the list
  }

  for (const event of ["pointerleave", "focusout", "scrollend"]) {
    pane.addEventListener(event, () => isHeld() || render());
  }
  pill.onclick = renew;
  newer.onclick = () => move(1);

  return {
    hasOlder: () => slice.of(all).before > 0,
    /** Show older conversations. */
    back: () => move(-1),
    renew,
    reset,
    show,
    step,
  };
}

/** @param {HTMLElement} item @param {Conversation} conversation @param {boolean} isOpen @param {number} now */
function update(item, conversation, isOpen, now) {
  const { id, name, thread, state, isUnread, isClosed } = conversation;
  const newest = /** @type {import("./messages.js").Message} */ (thread.newest);
  const when = age(newest.timestamp, now);
  const isBlocked = conversation.isBlocked(now);
  const claimer = state.claimedBy?.name ?? "";
  const looks = JSON.stringify([newest.messageId, when, isOpen, isUnread, isClosed, isBlocked, claimer]);
  if (item.dataset.looks === looks) return; // in a flood, many rows move but few change
  item.dataset.looks = looks;
  const link = within(item, "link");
  link.setAttribute("href", `#${id}`);
  if (isOpen) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
  item.classList.toggle("is-unread", isUnread);
  fill(item, {
    unread: { hidden: !isUnread },
    name: { textContent: name },
    time: { textContent: when, dateTime: newest.timestamp, title: clockTime(newest.timestamp) },
    last: { textContent: newest.content },
    claim: { hidden: !claimer },
    claimer: { textContent: claimer },
    closed: { hidden: !isClosed },
    blocked: { hidden: !isBlocked },
  });
  within(item, "last").dataset.from = newest.from;
}
