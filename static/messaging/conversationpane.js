// @ts-check
/** The open conversation of the live page: its messages, the field for an answer, and the actions on it. */

import { offerAddress } from "./blocking.js";
import { Conversation, Window } from "./conversations.js";
import { byId, clockTime, text } from "./page.js";
import { composer, reconcile, threadView } from "./view.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {{key: string, label: string, content: string}} Reply
 * @typedef {{id: number | string, name: string, reply: boolean, manage: boolean, block: boolean, unblock: boolean}} Me
 */

/** The shortest time between two `read` frames: in a flood, every message is read at once. */
const READ_MS = 1_000;
/** The wait before a request that got no answer is sent again. */
const RETRY_MS = 1_000;
/** The number of messages that show what a conversation is about. */
const ENOUGH = 20;

/**
 * @param {import("./conversations.js").Conversations} conversations
 * @param {Connection} connection
 * @param {import("./messages.js").Outbox} outbox
 * @param {string} drafts  the prefix of the storage keys of drafts
 * @param {() => void} showAll  renders the whole page at the next opportunity
 */
export function threadPane(conversations, connection, outbox, drafts, showAll) {
  const older = byId("older");
  const newer = byId("newer");
  const log = byId("log");
  const replyButtons = byId("replies");
  const slice = new Window();
  const view = threadView("admin", connection, outbox);
  /** @type {Reply[]} */
  let replies = [];
  /** The open conversation; after `hide`, one without an id. */
  let conversation = new Conversation("");
  /** The cursor of the newest message when the person was last at the end of the thread. */
  let seen = "";
  let isTelling = false;
  let isLoading = false;
  /** The id of the conversation whose earlier messages were requested. */
  let loaded = "";

  const isLive = () => connection.state.phase === "live";

  /** @param {string} id  of the conversation @param {boolean} mayReply */
  function show(id, mayReply) {
    const known = conversations.get(id);
    const isOther = id !== conversation.id;
    conversation = known ?? new Conversation(id);
    if (isOther) {
      slice.follow();
      field.open(drafts + id);
      byId("thread-name").textContent = conversation.name;
    }
    if (isLive() && !isLoading && loaded !== id) begin();
    byId("gone").hidden = Boolean(known) || isLoading || !isLive();
    byId("composer").hidden = replyButtons.hidden = !mayReply;
    showMessages(isOther);
  }

  function hide() {
    conversation = new Conversation("");
    loaded = "";
  }

  /** Request the earlier messages again on the next link, which may start anew with the newest messages of all. */
  function renew() {
    loaded = "";
  }

  /** Load this conversation's messages from before the newest messages of all. */
  function begin() {
    const { id, isWhole, thread } = conversation;
    loaded = id;
    if (!isWhole && thread.messages.length < ENOUGH) load();
  }

  function toEnd() {
    slice.follow();
    showMessages(true);
  }

  /** Show buttons for the canned replies. @param {Reply[]} offered */
  function offer(offered) {
    replies = offered;
    reconcile(
      replyButtons,
      replies,
      ({ key }) => key,
      () => Object.assign(document.createElement("button"), { type: "button", className: "reply" }),
      (button, { label, content }) => Object.assign(button, { textContent: label, title: content }),
    );
  }

  /** Put a canned reply into the field, where the person can still change it. @param {number} number  from 1 */
  function insert(number) {
    const reply = replies[number - 1];
    if (!reply || byId("composer").hidden) return;
    /** @type {any} */
    const text = byId("text");
    text.value = [text.value.trimEnd(), reply.content].filter(Boolean).join("\n");
    text.dispatchEvent(new Event("input")); // as if it had been typed
    text.focus();
    text.setSelectionRange(-1, -1);
  }

  /** @param {boolean} atEnd */
  function showMessages(atEnd) {
    const { id, thread, isWhole, cursor, readByVisitor } = conversation;
    const { items, before, after } = slice.of(thread.messages);
    const waiting = after ? [] : outbox.entries().filter(({ to }) => to === id);
    const isAtEnd = view(items, waiting, atEnd, readByVisitor) && !after;
    if (isAtEnd) seen = cursor;
    older.hidden = isLoading || (!before && (isWhole || !isLive()));
    const unseen = thread.messages.filter((message) => message.cursor > seen).length;
    newer.hidden = isAtEnd || !(after || unseen);
    newer.textContent = unseen ? text("newHere", { count: unseen }) : text("toNewest");
    if (isAtEnd && isLive()) tellRead();
  }

  /** Mark the conversation as read for the whole team, because the person looks at its end. */
  async function tellRead() {
    const { id, isUnread, thread } = conversation;
    if (!isUnread || document.hidden || isTelling) return;
    isTelling = true;
    setTimeout(() => {
      isTelling = false;
      showAll();
    }, READ_MS);
    const upTo = thread.messages.findLast(({ from }) => from === "user")?.messageId;
    const read = conversation;
    const answer = await connection.request({ action: "read", conversation: id, upTo });
    if (answer?.type !== "ack") return; // the timer sends it again
    read.read("admin", answer.cursor);
    showAll();
  }

  /** Load messages before those that are here, or the newest ones if there are none. */
  async function load() {
    const { id, thread } = conversation;
    isLoading = true;
    const page = await connection.older({ conversation: id, before: thread.oldest?.cursor });
    if (!page) {
      renew(); // a missing answer says nothing about the conversation
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    isLoading = false;
    const known = conversations.get(id);
    if (page && !page.more && known) known.isWhole = true;
    showAll();
  }

  const field = composer(
    (content) => {
      const isKept = connection.send({ content, to: conversation.id });
      if (isKept) toEnd();
      return isKept;
    },
    (event) => event.ctrlKey || event.metaKey,
  );
  older.onclick = async () => {
    const { messages } = conversation.thread;
    if (slice.of(messages).before) slice.move(messages, -1);
    else await load();
    showAll();
  };
  newer.onclick = toEnd;
  log.onscroll = () => seen < conversation.cursor && showAll();
  replyButtons.onclick = (/** @type {any} */ { target }) => {
    const button = target.closest("button");
    if (button) insert([...replyButtons.children].indexOf(button) + 1);
  };
  log.setAttribute("aria-live", "off"); // new messages are announced in summary, whichever conversation is open

  return { show, hide, renew, offer, insert };
}

/**
 * The buttons that claim, close and block a conversation, or undo that. They follow the server's answer, not the click.
 *
 * @param {Connection} connection
 */
export function actionsPane(connection) {
  const confirm = byId("confirm");
  /** @type {Conversation | undefined} */
  let conversation;
  /** The operation of each button now, which is also the key of its text. @type {Record<string, string>} */
  let ops = {};

  /** @param {Conversation | undefined} shown @param {Me | undefined} me */
  function show(shown, me) {
    if (shown !== conversation) notice("");
    conversation = shown;
    const { state, isClosed = false } = shown ?? {};
    const claimer = state?.claimedBy;
    const isOthers = claimer !== undefined && claimer.id !== me?.id;
    const isBlocked = shown?.isBlocked(Date.now());
    const mayManage = me?.manage && !isOthers;
    ops = {
      claim: claimer ? "release" : "claim",
      close: isClosed ? "reopen" : "close",
      block: isBlocked ? "unblock" : "block",
    };
    for (const name in ops) {
      const mayDo = name !== "block" ? mayManage : isBlocked ? me?.unblock : me?.block;
      Object.assign(byId(name), { hidden: !shown || !mayDo, textContent: text(ops[name]) });
    }
    const facts = [
      claimer && text(isOthers ? "claimedBy" : "claimedByYou", { name: claimer.name }),
      isClosed && text("isClosed"),
      isBlocked && text("blockedUntil", { time: clockTime(state?.blockedUntil ?? "") }),
    ];
    byId("facts").textContent = facts.filter(Boolean).join(" · ");
  }

  /** Do the operation of a button; blocking needs a confirmation. @param {string} name  of the button */
  function run(name) {
    if (byId(name).hidden || !conversation) return;
    if (ops[name] !== "block") return act(ops[name]);
    const { id, name: visitor } = conversation;
    byId("confirm-text").textContent = text("blockName", { name: visitor });
    byId("block-address").hidden = true;
    byId("sharing").textContent = "";
    confirm.returnValue = "";
    confirm.showModal();
    offerAddress(id, () => id === conversation?.id);
  }

  /** @param {string} op */
  async function act(op) {
    const { id } = /** @type {Conversation} */ (conversation);
    notice("");
    const answer = await connection.request({ action: "conversation", conversation: id, op });
    if (id === conversation?.id) notice(refusalOf(answer));
  }

  for (const name of ["claim", "close", "block"]) byId(name).onclick = () => run(name);
  confirm.onclose = () => {
    if (confirm.returnValue) act(confirm.returnValue);
  };

  return { show, run };
}

/** Return why a request was not done; "": it was. @param {import("./link.js").Frame | null} answer */
export function refusalOf(answer) {
  if (!answer) return text("notDone");
  if (answer.code === "already_claimed") return text("wasFaster", { name: answer.by });
  return answer.type === "ack" ? "" : text("refused", { reason: answer.message });
}

/** @param {string} words */
function notice(words) {
  byId("action-notice").textContent = words;
}
