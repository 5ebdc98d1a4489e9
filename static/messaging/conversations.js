// @ts-check
/**
 * All conversations that this page knows: what was said, and what the staff made of it. No DOM.
 *
 * @typedef {import("./messages.js").Message} Message
 *
 * The server's word on one conversation:
 * @typedef {object} State
 * @property {string} conversation
 * @property {"open" | "closed" | "erased"} status
 * @property {string} [timestamp]  of its last change; of two words the later one counts
 * @property {{id: number, name: string}} [claimedBy]
 * @property {string} [blockedUntil]
 * @property {string} [readByStaff]  cursor
 * @property {string} [readByVisitor]  cursor
 *
 * @typedef {"all" | "unread" | "mine" | "unclaimed" | "closed"} Filter
 */

import { Thread } from "./messages.js";

/** How many items of a list a page carries at once. */
export const MOST = 500;

// Names for people who gave none: easier to tell apart than ids, and the same on every screen.
const COLOURS = "Amber Azure Blue Coral Golden Green Grey Indigo Ivory Lilac Mint Olive Red Silver Teal White".split(" ");
const ANIMALS = "Badger Bear Crane Deer Falcon Fox Hare Heron Lynx Otter Owl Raven Robin Seal Swan Wolf".split(" ");

export class Conversation {
  thread = new Thread();
  /** @type {State} */
  state;
  /** Cursor of the newest message that was read. */
  readByStaff = "";
  readByVisitor = "";
  /** Of the newest message that a visitor wrote. */
  asked = "";

  /** @param {string} id @param {boolean} [isWhole]  nothing older is at the server */
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

  /** The server's word on who has read how far; it may be an old one. @param {"user" | "admin"} by @param {string} [cursor] */
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

/** @type {Record<Filter, (conversation: Conversation, me: number) => boolean>} */
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

  /** @param {Message} message @returns {Conversation | null} its own; null: the message is known */
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

  /** Those with messages, the ones that spoke last at the end. @param {Filter} filter @param {string} query @param {number} me */
  list(filter, query, me) {
    const wanted = query.trim().toLowerCase();
    return [...this.#all.values()]
      .filter((each) => each.cursor && FILTERS[filter](each, me) && each.matches(wanted))
      .sort((a, b) => (a.cursor < b.cursor ? -1 : 1));
  }

  get unread() {
    return [...this.#all.values()].filter(({ isUnread }) => isUnread).length;
  }

  /** The one that has said nothing for longest. @returns {Conversation | undefined} */
  get first() {
    return [...this.#all.values()]
      .filter(({ cursor }) => cursor)
      .reduce((first, each) => (first && first.cursor < each.cursor ? first : each), /** @type {any} */ (undefined));
  }

  /** Cursor of the newest message; "": there is none. */
  get newest() {
    return [...this.#all.values()].reduce((newest, { cursor }) => (cursor > newest ? cursor : newest), "");
  }

  /** Older messages of all conversations begin before this. */
  get oldest() {
    return [...this.#all.values()].map(({ thread }) => thread.oldest?.cursor ?? "~").sort()[0];
  }

  /** All of them are here, from the first message on. */
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
    if (!conversation) this.#all.set(id, (conversation = new Conversation(id, this.#isWhole)));
    return conversation;
  }
}

/** @param {string} id  a UUID; its end is random in every version @returns {string} such as "Blue Otter 3f2a" */
export function visitorName(id) {
  const [colour, animal] = [...id.slice(-6, -4)].map((digit) => Number.parseInt(digit, 16) || 0);
  return `${COLOURS[colour]} ${ANIMALS[animal]} ${id.slice(-4)}`;
}

/**
 * As many items of a long list as a page can carry. Follows the end of the list, or stays where a person has gone back to. The place is a cursor, so it holds when items
 * come and go.
 */
export class Window {
  /** Cursor of the last item shown; "": follows the end. */
  #until = "";

  /**
   * @template {{cursor: string}} T
   * @param {T[]} items  sorted by cursor
   * @returns {{items: T[], before: number, after: number}} what is shown, and how many are not, on either side
   */
  of(items) {
    const beyond = this.#until ? items.findIndex(({ cursor }) => cursor > this.#until) : -1;
    const end = beyond < 0 ? items.length : beyond;
    const start = Math.max(0, end - MOST);
    return { items: items.slice(start, end), before: start, after: items.length - end };
  }

  /** Move by half of what is shown: towards the beginning (-1) or the end (1). @param {{cursor: string}[]} items @param {-1 | 1} by */
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
