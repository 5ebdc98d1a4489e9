// @ts-check
/** The live page of the Django admin: all conversations, one of them open, and the place to answer. */

import { Refused } from "./connection.js";
import { byId, clockTime, configuration, connect, showStatus, storage } from "./page.js";
import { Thread } from "./thread.js";
import { visitorName } from "./names.js";
import { clone, Composer, reconcile, ThreadView, together, within } from "./view.js";

/** @typedef {import("./thread.js").Message} Message */

// Two staff members who share a browser do not share what they write.
const OWN = `messaging-live-${configuration.staff}`;

/** @type {Map<string, Thread>} */
const threads = new Map();
/** Conversations without older messages than those that are here. @type {Set<string>} */
const whole = new Set();
/** Where older messages of all conversations begin. @type {string | undefined} */
let oldest;
let mayReply = false;

/** What this person has read: the cursor of the newest message, by conversation. @type {Record<string, string>} */
const read = JSON.parse(storage?.getItem(`${OWN}-read`) ?? "{}");

/** A token for one identify, for which the session answers. */
async function credentials() {
  const { value } = byId("live").querySelector("[name=csrfmiddlewaretoken]");
  const response = await fetch(configuration.tokenUrl, { method: "POST", headers: { "X-CSRFToken": value } });
  if (response.status === 403) throw new Refused();
  const { token } = await response.json();
  return { token };
}

const { connection, outbox } = connect(
  `${OWN}-outbox`,
  {
    role: "admin",
    credentials,
    handlers: {
      state: () => show(),
      messages(messages) {
        messages.forEach(add);
        show();
      },
      reset() {
        threads.clear();
        whole.clear();
        show();
      },
      newest(more) {
        const cursors = [...threads.values()].map((thread) => thread.messages[0].cursor).sort();
        oldest = more ? cursors[0] : undefined;
        if (!more) for (const id of threads.keys()) whole.add(id);
        if (opened() && !threads.has(opened())) loadOlder();
        show();
      },
      identified(frame) {
        mayReply = frame.me.reply;
        show();
      },
    },
  },
  () => show(),
);

const view = new ThreadView(
  "admin",
  (id) => connection.retry(id),
  (id) => outbox.remove(id),
);

const composer = new Composer(
  (content) => {
    connection.send({ content, to: opened() });
    render(true);
  },
  (event) => event.ctrlKey || event.metaKey,
);

/** @param {Message} message */
function add(message) {
  const id = /** @type {string} */ (message.conversation);
  let thread = threads.get(id);
  if (!thread) threads.set(id, (thread = new Thread()));
  thread.add(message);
}

/** The open conversation is in the address: it survives a reload, and the browser's back button closes it. */
function opened() {
  return location.hash.slice(1);
}

/** @param {string} id */
function isUnread(id) {
  const newest = threads.get(id)?.newest;
  return newest?.from === "user" && newest.cursor > (read[id] ?? "");
}

/** The person looks at the open conversation: what it holds is read. */
function markRead() {
  const id = opened();
  const newest = threads.get(id)?.newest;
  if (!newest || document.hidden || newest.cursor <= (read[id] ?? "")) return;
  read[id] = newest.cursor;
  storage?.setItem(`${OWN}-read`, JSON.stringify(read));
}

function words() {
  const { phase, code, lastLive } = connection.state;
  if (phase === "live") return "Live";
  const since = lastLive ? `Not live since ${clockTime(lastLive)}. ` : "Not live yet. ";
  if (phase !== "stopped") return since + (navigator.onLine ? "Connecting …" : "You are offline.");
  if (code === 4401) return `${since}You are signed out.`;
  return since + (code === 4403 ? "This account may not do that." : "Please reload the page.");
}

function showLink() {
  const { phase, code } = connection.state;
  showStatus(phase, words(), { retry: phase === "waiting" || (phase === "stopped" && code !== 4401) });
  byId("sign-in").hidden = !(phase === "stopped" && code === 4401);
}

function showConversations() {
  const newestFirst = [...threads.entries()].sort(([, a], [, b]) => (cursorOf(a) < cursorOf(b) ? 1 : -1));
  reconcile(
    byId("conversations"),
    newestFirst,
    ([id]) => id,
    () => clone("conversation-template"),
    (item, [id, thread]) => {
      const newest = /** @type {Message} */ (thread.newest);
      const link = within(item, "link");
      link.setAttribute("href", `#${id}`);
      if (id === opened()) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
      within(item, "unread").hidden = !isUnread(id);
      within(item, "name").textContent = visitorName(id);
      within(item, "time").textContent = clockTime(newest.timestamp);
      within(item, "last").textContent = (newest.from === "admin" ? "↩ " : "") + newest.content;
    },
  );
  byId("older-conversations").hidden = !oldest || connection.state.phase !== "live";
  byId("none").hidden = threads.size > 0 || connection.state.phase !== "live";
  const unread = [...threads.keys()].filter(isUnread).length;
  document.title = document.title.replace(/^(\(\d+\) )?/, unread ? `(${unread}) ` : "");
}

/** @param {Thread} thread */
function cursorOf(thread) {
  return thread.newest?.cursor ?? "";
}

/** @param {boolean} toEnd */
function showConversation(toEnd) {
  const id = opened();
  const thread = threads.get(id);
  byId("live").dataset.pane = id ? "thread" : "list";
  byId("thread").hidden = !id;
  if (!id) return;
  byId("thread-name").textContent = visitorName(id);
  view.show(
    thread?.messages ?? [],
    outbox.entries().filter(({ to }) => to === id),
    toEnd,
  );
  byId("older").hidden = whole.has(id) || connection.state.phase !== "live";
  byId("composer").hidden = !mayReply;
  composer.open(`${OWN}-draft-${id}`);
}

/** @param {boolean} toEnd */
function render(toEnd) {
  markRead();
  showLink();
  showConversations();
  showConversation(toEnd);
}

/** Older messages of the open conversation; the newest ones where it has none here yet. */
async function loadOlder() {
  const conversation = opened();
  const page = await connection.older({ conversation, before: threads.get(conversation)?.oldest?.cursor });
  if (page && !page.more) whole.add(conversation);
  show();
}

const show = together(() => render(false));

byId("older-conversations").addEventListener("click", async () => {
  const page = await connection.older({ before: oldest });
  if (page) oldest = page.more ? page.cursor : undefined;
  show();
});

byId("older").addEventListener("click", loadOlder);

byId("try-now").addEventListener("click", () => connection.wake());

addEventListener("hashchange", (event) => {
  render(true);
  // Where one pane replaces the other, the focus would be left on something hidden.
  const left = new URL(event.oldURL).hash.slice(1);
  if (opened()) byId("thread-name").focus();
  else within(byId("conversations").querySelector(`[data-key="${CSS.escape(left)}"]`) ?? byId("live"), "link")?.focus();
});

addEventListener("offline", show);
document.addEventListener("visibilitychange", show);
render(true);
connection.run();
