// @ts-check
/**
 * All conversations that this page knows: their messages and their states. No DOM.
 *
 * @typedef {import("./messages.js").Message} Message
 *
 * The state of one conversation, as the server sends it:
 * @typedef {object} State
 * @property {string} conversation
 * @property {"open" | "closed" | "erased"} status
 * @property {string} [timestamp]  of its last change; of two states the later one counts
 * @property {{id: number | string, name: string}} [claimedBy]
 * @property {string} [blockedUntil]
 * @property {string} [readByStaff]  cursor
 * @property {string} [readByVisitor]  cursor
 *
 * @typedef {"all" | "unread" | "mine" | "unclaimed" | "closed"} Filter
 */

import { Thread } from "./messages.js";

/** The most items of a list that a page holds at once. */
export const MOST = 500;

// Names for visitors, who give none: easier to distinguish than ids, and the same on every screen.
const COLOURS = "Amber Azure Blue Coral Golden Green Grey Indigo Ivory Lilac Mint Olive Red Silver Teal White".split(
  " ",
);
const ANIMALS = "Badger Bear Crane Deer Falcon Fox Hare Heron Lynx Otter Owl Raven Robin Seal Swan Wolf".split(" ");

export class Conversation {
  thread = new Thread();
  /** @type {State} */
  state;
  /** The cursor of the newest message that was read, by each side. */
  readByStaff = "";
  readByVisitor = "";
  /** The cursor of the newest message that the visitor wrote. */
  asked = "";

  /** @param {string} id @param {boolean} [isWhole]  the server has no older messages */
  constructor(id, isWhole = false) {
    this.id = id;
    this.isWhole = isWhole;
    this.name = visitorName(id);
    this.state = { conversation: id, status: "open" };
  }

  get cursor() {
    return this.thread.newest?.cursor ?? "";
  }

  get isUnread() {
    return this.asked > this.readByStaff;
  }

  get isClosed() {
    return this.state.status === "closed";
  }

  /** @param {number} now */
  isBlocked(now) {
    return Date.parse(this.state.blockedUntil ?? "") > now;
  }

  /** Apply a read position from the server; it may be old. @param {"user" | "admin"} by @param {string} [cursor] */
  read(by, cursor = "") {
    if (by === "admin" && cursor > this.readByStaff) this.readByStaff = cursor;
    if (by === "user" && cursor > this.readByVisitor) this.readByVisitor = cursor;
  }

  /** @param {string} query  in lower case */
  matches(query) {
    const { claimedBy } = this.state;
    if (`${this.name} ${claimedBy?.name ?? ""}`.toLowerCase().includes(query)) return true;
    return this.thread.messages.some(({ content }) => content.toLowerCase().includes(query));
  }
}

/** @type {Record<Filter, (conversation: Conversation, me: number | string) => boolean>} */
const FILTERS = {
  all: () => true,
  unread: (conversation) => conversation.isUnread,
  mine: ({ state }, me) => state.claimedBy?.id === me,
  unclaimed: ({ state, isClosed }) => !state.claimedBy && !isClosed,
  closed: ({ isClosed }) => isClosed,
};

export class Conversations {
  /** @type {Map<string, Conversation>} */
  #all = new Map();
  #isWhole = false;

  /** @param {string} id */
  get(id) {
    return this.#all.get(id);
  }

  /** @param {Message} message @returns {Conversation | null} the message's; null: it is known already */
  add(message) {
    const conversation = this.#known(/** @type {string} */ (message.conversation));
    if (message.from === "user" && message.cursor > conversation.asked) conversation.asked = message.cursor;
    return conversation.thread.add(message) ? conversation : null;
  }

  /** @param {State} state */
  learn(state) {
    const conversation = this.#known(state.conversation);
    if (state.status === "erased") this.#all.delete(state.conversation);
    conversation.read("admin", state.readByStaff);
    conversation.read("user", state.readByVisitor);
    if ((state.timestamp ?? "") >= (conversation.state.timestamp ?? "")) conversation.state = state;
  }

  /** List those with messages, the newest last. @param {Filter} filter @param {string} query @param {number | string} me */
  list(filter, query, me) {
    const wanted = query.trim().toLowerCase();
    return [...this.#all.values()]
      .filter((each) => each.cursor && FILTERS[filter](each, me) && each.matches(wanted))
      .sort((a, b) => (a.cursor < b.cursor ? -1 : 1));
  }

  get unread() {
    return [...this.#all.values()].filter(({ isUnread }) => isUnread).length;
  }

  /** The conversation whose newest message is the oldest. @returns {Conversation | undefined} */
  get first() {
    return [...this.#all.values()]
      .filter(({ cursor }) => cursor)
      .reduce((first, each) => (first && first.cursor < each.cursor ? first : each), /** @type {any} */ (undefined));
  }

  /** The cursor of the newest message; "": there is none. */
  get newest() {
    return [...this.#all.values()].reduce((newest, { cursor }) => (cursor > newest ? cursor : newest), "");
  }

  /** The cursor before which older messages of all conversations have to be requested. */
  get oldest() {
    return [...this.#all.values()].map(({ thread }) => thread.oldest?.cursor ?? "~").sort()[0];
  }

  /** Note that all conversations are here, from their first message on. */
  becomeWhole() {
    this.#isWhole = true;
    for (const conversation of this.#all.values()) conversation.isWhole = true;
  }

  clear() {
    this.#all.clear();
    this.#isWhole = false;
  }

  /** @param {string} id */
  #known(id) {
    let conversation = this.#all.get(id);
    if (!conversation) {
      conversation = new Conversation(id, this.#isWhole);
      this.#all.set(id, conversation);
    }
    return conversation;
  }
}

/** @param {string} id  a UUID; its end is random in every version @returns {string} a name such as "Blue Otter 3f2a" */
export function visitorName(id) {
  const [colour, animal] = [...id.slice(-6, -4)].map((digit) => Number.parseInt(digit, 16) || 0);
  return `${COLOURS[colour]} ${ANIMALS[animal]} ${id.slice(-4)}`;
}

/**
 * The part of a long list that a page can hold. It follows the end of the list, or stays where a person has gone back
 * to. The place is a cursor, so it stays valid when items come and go.
 */
export class Window {
  /** The cursor of the last item shown; "": follow the end. */
  #until = "";

  /**
   * @template {{cursor: string}} T
   * @param {T[]} items  sorted by cursor
   * @returns {{items: T[], before: number, after: number}} the shown items, and how many are hidden on either side
   */
  of(items) {
    const beyond = this.#until ? items.findIndex(({ cursor }) => cursor > this.#until) : -1;
    const end = beyond < 0 ? items.length : beyond;
    const start = Math.max(0, end - MOST);
    return { items: items.slice(start, end), before: start, after: items.length - end };
  }

  /**
   * Move by half of the shown items, towards the beginning (-1) or the end (1).
   *
   * @param {{cursor: string}[]} items
   * @param {-1 | 1} by
   */
  move(items, by) {
    const { before, after } = this.of(items);
    const end = items.length - after + (by * MOST) / 2;
    if (by < 0 && !before) return;
    this.#until = end < items.length ? items[Math.max(end, MOST) - 1].cursor : "";
  }

  follow() {
    this.#until = "";
  }
}
