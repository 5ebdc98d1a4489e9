// @ts-check
/** The open conversation of the live page: what was said, what to answer, and what else to do with it. */

import { Conversation, Window } from "./conversations.js";
import { byId, clockTime, text } from "./page.js";
import { counted, OWN } from "./staff.js";
import { Composer, reconcile, ThreadView } from "./view.js";

/**
 * @typedef {{key: string, label: string, content: string}} Reply
 * @typedef {{id: number, name: string, reply: boolean, manage: boolean, block: boolean, unblock: boolean}} Me
 */

/** Reading is told so often at most: in a flood, every message is read at once. */
const READ_MS = 1_000;
/** So many messages tell what it is about. */
const ENOUGH = 20;

export class ThreadPane {
  /** @type {Reply[]} */
  replies = [];
  /** @type {Conversation | undefined} */
  #conversation;
  #window = new Window();
  /** The newest message when the person was at the end of the thread. */
  #seen = "";
  #isTelling = false;
  #isLoading = false;
  /** The conversation whose beginning was asked for. */
  #loaded = "";
  #conversations;
  #connection;
  #outbox;
  #show;
  #view;
  #composer;

  /**
   * @param {import("./conversations.js").Conversations} conversations
   * @param {import("./connection.js").Connection} connection
   * @param {import("./outbox.js").Outbox} outbox
   * @param {() => void} show  everything, at the next opportunity
   */
  constructor(conversations, connection, outbox, show) {
    this.#conversations = conversations;
    this.#connection = connection;
    this.#outbox = outbox;
    this.#show = show;
    this.#view = new ThreadView(
      "admin",
      (id) => connection.retry(id),
      (id) => outbox.remove(id),
    );
    this.#composer = new Composer(
      (content) => this.#send(content),
      (event) => event.ctrlKey || event.metaKey,
    );
    byId("older").addEventListener("click", () => this.#older());
    byId("newer").addEventListener("click", () => this.toEnd());
    byId("log").addEventListener("scroll", () => this.#seen < (this.#conversation?.cursor ?? "") && show());
    byId("replies").addEventListener("click", (/** @type {any} */ { target }) => {
      const button = target.closest("button");
      if (button) this.insert([...button.parentElement.children].indexOf(button) + 1);
    });
    byId("log").setAttribute("aria-live", "off"); // arrivals are announced in summary, whatever is open
  }

  /** @param {string} id  of the conversation @param {boolean} mayReply */
  show(id, mayReply) {
    const known = this.#conversations.get(id);
    const isOther = id !== this.#conversation?.id;
    this.#conversation = known ?? new Conversation(id);
    if (isOther) {
      this.#window.follow();
      this.#composer.open(`${OWN}-draft-${id}`);
      byId("thread-name").textContent = this.#conversation.name;
    }
    const isLive = this.#connection.state.phase === "live";
    if (isLive && this.#loaded !== id) this.#begin(known);
    byId("gone").hidden = Boolean(known) || this.#isLoading || !isLive;
    byId("composer").hidden = byId("replies").hidden = !mayReply;
    this.#showMessages(isOther);
  }

  hide() {
    this.#conversation = undefined;
    this.#loaded = "";
  }

  /** What was said in this conversation before the newest messages of all. @param {Conversation | undefined} known */
  #begin(known) {
    this.#loaded = /** @type {Conversation} */ (this.#conversation).id;
    const { isWhole = false, thread } = known ?? {};
    if (!isWhole && (thread?.messages.length ?? 0) < ENOUGH) this.#load(this.#loaded, thread?.oldest?.cursor);
  }

  toEnd() {
    this.#window.follow();
    this.#showMessages(true);
  }

  /** The canned replies. @param {Reply[]} replies */
  offer(replies) {
    this.replies = replies;
    reconcile(
      byId("replies"),
      replies,
      ({ key }) => key,
      () => Object.assign(document.createElement("button"), { type: "button", className: "reply" }),
      (button, { label, content }) => {
        button.textContent = label;
        button.title = content;
      },
    );
  }

  /** Put a canned reply into the field, where the person can still change it. @param {number} number  from 1 */
  insert(number) {
    const reply = this.replies[number - 1];
    if (reply && !byId("composer").hidden) this.#composer.insert(reply.content);
  }

  /** @param {string} content */
  #send(content) {
    this.#connection.send({ content, to: this.#conversation?.id });
    this.toEnd();
  }

  /** @param {boolean} toEnd */
  #showMessages(toEnd) {
    const { id, thread, isWhole, cursor, readByVisitor } = /** @type {Conversation} */ (this.#conversation);
    const { items, before, after } = this.#window.of(thread.messages);
    const waiting = after ? [] : this.#outbox.entries().filter(({ to }) => to === id);
    const atEnd = this.#view.show(items, waiting, toEnd, readByVisitor) && !after;
    if (atEnd) this.#seen = cursor;
    const isLive = this.#connection.state.phase === "live";
    byId("older").hidden = this.#isLoading || (!before && (isWhole || !isLive));
    const unseen = thread.messages.filter((message) => message.cursor > this.#seen).length;
    byId("newer").hidden = atEnd || !(after || unseen);
    byId("newer").textContent = unseen ? counted("newHere", unseen) : text("toNewest");
    if (atEnd && isLive) this.#tellRead();
  }

  /** The person looks at the end of the conversation: all of it is read, for the whole team. */
  async #tellRead() {
    const conversation = this.#conversation;
    if (!conversation?.isUnread || document.hidden || this.#isTelling) return;
    this.#isTelling = true;
    setTimeout(() => {
      this.#isTelling = false;
      this.#show();
    }, READ_MS);
    const upTo = conversation.thread.messages.findLast(({ from }) => from === "user")?.messageId;
    const answer = await this.#connection.request({ action: "read", conversation: conversation.id, upTo });
    if (answer?.type !== "ack") return; // asked again by the timer
    conversation.read("admin", answer.cursor);
    this.#show();
  }

  async #older() {
    const { id, thread } = /** @type {Conversation} */ (this.#conversation);
    if (this.#window.of(thread.messages).before) this.#window.move(thread.messages, -1);
    else await this.#load(id, thread.oldest?.cursor);
    this.#show();
  }

  /** Messages before a cursor, or the newest ones. @param {string} id @param {string} [before] */
  async #load(id, before) {
    this.#isLoading = true;
    const page = await this.#connection.older({ conversation: id, before });
    this.#isLoading = false;
    const conversation = this.#conversations.get(id);
    if (page && !page.more && conversation) conversation.isWhole = true;
    this.#show();
  }
}

/** What the staff does with it: claim, close, block, and back. The server's answer decides, not the click. */
export class Actions {
  /** @type {Conversation | undefined} */
  #conversation;
  /** @type {Me | undefined} */
  #me;
  #request;

  /** @param {(frame: import("./link.js").Frame) => Promise<import("./link.js").Frame | null>} request */
  constructor(request) {
    this.#request = request;
    for (const name of /** @type {const} */ (["claim", "close", "block"])) {
      byId(name).addEventListener("click", () => this.run(name));
    }
    byId("confirm").addEventListener("close", () => {
      if (byId("confirm").returnValue === "block") this.#do("block");
    });
  }

  /** @param {Conversation | undefined} conversation @param {Me | undefined} me */
  show(conversation, me) {
    if (conversation !== this.#conversation) notice("");
    this.#conversation = conversation;
    this.#me = me;
    const claimer = conversation?.state.claimedBy;
    const isOthers = claimer !== undefined && claimer.id !== me?.id;
    const { isClosed = false } = conversation ?? {};
    const isBlocked = conversation?.isBlocked(Date.now()) ?? false;
    const mayManage = conversation && me?.manage && !isOthers;
    button("claim", claimer ? "release" : "claim", mayManage);
    button("close", isClosed ? "reopen" : "close", mayManage);
    button("block", isBlocked ? "unblock" : "block", conversation && (isBlocked ? me?.unblock : me?.block));
    const facts = [
      claimer && text(isOthers ? "claimedBy" : "claimedByYou", { name: claimer.name }),
      isClosed && text("isClosed"),
      isBlocked && text("blockedUntil", { time: clockTime(conversation?.state.blockedUntil ?? "") }),
    ];
    byId("facts").textContent = facts.filter(Boolean).join(" · ");
  }

  /** What the button of this name says. @param {"claim" | "close" | "block"} name */
  run(name) {
    if (byId(name).hidden || !this.#conversation) return;
    const { state, isClosed } = this.#conversation;
    if (name === "claim") return this.#do(state.claimedBy ? "release" : "claim");
    if (name === "close") return this.#do(isClosed ? "reopen" : "close");
    if (this.#conversation.isBlocked(Date.now())) return this.#do("unblock");
    byId("confirm-text").textContent = text("blockName", { name: this.#conversation.name });
    byId("confirm").returnValue = "";
    byId("confirm").showModal();
  }

  /** @param {string} op */
  async #do(op) {
    const { id } = /** @type {Conversation} */ (this.#conversation);
    notice("");
    const answer = await this.#request({ action: "conversation", conversation: id, op });
    if (id !== this.#conversation?.id || answer?.type === "ack") return;
    if (!answer) return notice(text("notDone"));
    notice(answer.code === "already_claimed" ? text("wasFaster", { name: answer.by }) : text("refused", { reason: answer.message }));
  }
}

/** @param {string} name @param {string} label  key of the text @param {unknown} isOffered */
function button(name, label, isOffered) {
  byId(name).hidden = !isOffered;
  byId(name).textContent = text(label);
}

/** @param {string} words */
function notice(words) {
  byId("action-notice").textContent = words;
}
