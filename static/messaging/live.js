// @ts-check
/** The live page of the Django admin: all conversations, one of them open, and the place to answer. */

import { Actions, ThreadPane } from "./conversationpane.js";
import { Conversations } from "./conversations.js";
import { browser } from "./link.js";
import { ConversationList } from "./list.js";
import { byId, connect } from "./page.js";
import {
  commandOf,
  credentials,
  inWords,
  OWN,
  Settings,
  showLink,
  showPresence,
  showUnread,
  Summary,
} from "./staff.js";
import { say, together, within } from "./view.js";

/** @typedef {import("./thread.js").Message} Message */

const TALLY = "#tally"; // in the address, where else the open conversation is
const PACE_MS = 100; // a flood is shown ten times a second
const AGES_MS = 15_000;

const conversations = new Conversations();
/** Where older messages of all conversations begin. @type {string | undefined} */
let oldest;
/** The newest message of all, once the page is filled: what comes behind it is news. */
let head = "";
/** @type {import("./conversationpane.js").Me | undefined} */
let me;
/** @type {{key: string, label: string}[]} */
let quick = [];
/** Comes when somebody first looks at it. @type {import("./tally.js").TallyBoard | undefined} */
let board;

const settings = new Settings(`${OWN}-settings`, async (name, isOn) => {
  if (name === "keys") byId("live").dataset.keys = String(isOn);
  if (isOn && name === "sound") (await import("./alerts.js")).blip();
  if (isOn && name === "notifications" && (await Notification.requestPermission()) !== "granted") settings.switchOff(name);
});

const summary = new Summary(async (arrivals) => {
  say(inWords(arrivals));
  const [sound, notifications] = [settings.isOn("sound"), settings.isOn("notifications") && document.hidden];
  if (!sound && !notifications) return;
  const { blip, notify } = await import("./alerts.js");
  if (sound) blip();
  if (notifications) notify(arrivals, settings.isOn("notificationTexts"));
}, browser);

const { connection, outbox } = connect(
  `${OWN}-outbox`,
  {
    role: "admin",
    credentials,
    handlers: {
      state({ phase }) {
        if (phase === "live") board?.load();
        show();
      },
      messages(messages) {
        messages.forEach(add);
        show();
      },
      reset() {
        conversations.clear();
        list.reset();
        head = "";
      },
      newest(more) {
        oldest = more ? conversations.oldest : undefined;
        if (!more) conversations.becomeWhole();
        head = conversations.newest || "0";
      },
      identified(frame) {
        ({ me, quick } = frame);
        thread.offer(frame.replies);
        showPresence(frame.presence);
      },
      frame(frame) {
        if (frame.type === "presence") showPresence(/** @type {any} */ (frame));
        if (frame.type === "conversation") conversations.learn(/** @type {any} */ (frame));
        if (frame.type === "read") conversations.get(frame.conversation)?.read(frame.by, frame.cursor);
        for (const state of frame.conversations ?? []) conversations.learn(state);
        show();
      },
    },
  },
  () => show(),
);

const show = together(render, PACE_MS);
const list = new ConversationList(render);
const thread = new ThreadPane(conversations, connection, outbox, show);
const actions = new Actions((frame) => connection.request(frame));

/** @param {Message} message */
function add(message) {
  board?.add(message);
  const conversation = conversations.add(message);
  if (!conversation || !head || message.cursor <= head) return;
  head = message.cursor;
  if (message.from === "user") summary.add({ name: conversation.name, content: message.content });
}

/** The open conversation is in the address: it survives a reload, and the browser's back button closes it. */
function opened() {
  return location.hash === TALLY ? "" : location.hash.slice(1);
}

function render() {
  const id = opened();
  const isLive = connection.state.phase === "live";
  const filter = /** @type {any} */ (document.querySelector("[name=filter]:checked")).value;
  const wanted = conversations.list(filter, byId("search").value, me?.id ?? 0);
  showLink(connection.state);
  showUnread(conversations.unread);
  list.show(wanted, id, Date.now());
  byId("older-conversations").hidden = !isLive || !(oldest || list.hasOlder);
  byId("none").hidden = conversations.newest !== "" || !isLive;
  byId("no-match").hidden = wanted.length > 0 || conversations.newest === "";
  byId("live").dataset.pane = location.hash.length > 1 ? "open" : "list";
  byId("thread").hidden = !id;
  byId("tally").hidden = location.hash !== TALLY;
  actions.show(conversations.get(id), me);
  if (id) thread.show(id, Boolean(me?.reply));
  else thread.hide();
  if (location.hash === TALLY) showTally();
}

async function showTally() {
  const { TallyBoard } = await import("./tally.js");
  board ??= new TallyBoard(() => location.hash === TALLY);
  board.show(quick);
}

byId("older-conversations").addEventListener("click", async () => {
  if (!list.hasOlder) {
    const page = await connection.older({ before: oldest });
    if (page) oldest = page.more ? page.cursor : undefined;
    render();
  }
  if (list.hasOlder) list.back();
});

/** @param {KeyboardEvent} press */
function onKey(press) {
  const target = /** @type {HTMLElement} */ (press.target);
  if (document.querySelector("dialog[open]")) return;
  const writing = target.matches("textarea, input:not([type=radio]), select");
  const command = commandOf(press, { writing, characters: settings.isOn("keys") });
  if (command === undefined) return;
  press.preventDefault();
  if (typeof command === "number") return thread.insert(command);
  COMMANDS[command](target);
}

/** @type {Record<import("./staff.js").Command, (target: HTMLElement) => void>} */
const COMMANDS = {
  next: () => list.step(1, opened()),
  previous: () => list.step(-1, opened()),
  reply: () => byId("text").focus(),
  claim: () => actions.run("claim"),
  close: () => actions.run("close"),
  block: () => actions.run("block"),
  search: () => byId("search").focus(),
  help: () => byId("settings").showModal(),
  back(target) {
    if (target.matches("textarea")) byId("thread-name").focus();
    else if (target.id === "search") list.step(0, opened());
    else location.hash = "";
  },
};

addEventListener("hashchange", (event) => {
  render();
  // Where one pane replaces the other, the focus would be left on something hidden.
  const left = new URL(event.oldURL).hash.slice(1);
  if (opened()) byId("thread-name").focus();
  else if (location.hash) byId("tally-name").focus();
  else within(byId("conversations").querySelector(`[data-key="${CSS.escape(left)}"]`) ?? byId("live"), "link")?.focus();
});

for (const name of ["search", "filters"]) byId(name).addEventListener("input", () => list.renew());
byId("open-settings").addEventListener("click", () => byId("settings").showModal());
byId("try-now").addEventListener("click", () => connection.wake());
addEventListener("keydown", onKey);
addEventListener("offline", () => connection.wake()); // does the link live?
document.addEventListener("visibilitychange", show);
byId("live").dataset.keys = String(settings.isOn("keys"));
setInterval(show, AGES_MS);
render();
connection.run();
