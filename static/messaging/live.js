// @ts-check
/** The live page of the Django admin: all conversations, one of them open, with a field for answers. */

import { blip, notify } from "./alerts.js";
import { actionsPane, refusalOf, threadPane } from "./conversationpane.js";
import { Conversations } from "./conversations.js";
import { conversationList } from "./list.js";
import { byId, clockTime, connect, text } from "./page.js";
import {
  credentials,
  inWords,
  isCommand,
  OWN,
  settings,
  showLink,
  showPresence,
  showUnread,
  summary,
} from "./staff.js";
import { TallyBoard } from "./tally.js";
import { say, together, within } from "./view.js";

/** @typedef {import("./messages.js").Message} Message */

const TALLY = "#tally"; // in the address, in place of the open conversation
const PACE_MS = 100; // a flood is shown ten times a second
const AGES_MS = 15_000;

const conversations = new Conversations();
/** The cursor before which older messages of all conversations are requested. @type {string | undefined} */
let oldest;
/** The cursor of the newest message, once the page is filled: any message after it is new. */
let head = "";
/** @type {import("./conversationpane.js").Me | undefined} */
let me;
/** @type {{key: string, label: string}[]} */
let quick = [];
/** Created when a person first opens the tally. @type {TallyBoard | undefined} */
let board;

/** The pause of new conversations. @type {{since: string, until: string, by: string} | undefined} */
let pause;

const isOn = settings(`${OWN}-settings`, async (box) => {
  byId("live").dataset.keys = isOn.keys;
  if (!box.checked) return;
  if (box.name === "sound") blip();
  if (box.name === "notifications" && (await Notification.requestPermission()) !== "granted" && box.checked)
    box.click();
});

const tell = summary((arrivals) => {
  say(inWords(arrivals));
  const { sound, notificationTexts } = isOn;
  const notifications = isOn.notifications && document.hidden;
  if (sound) blip();
  if (notifications) notify(arrivals, notificationTexts);
});

const { connection, outbox } = connect(
  `${OWN}-outbox`,
  {
    role: "admin",
    credentials,
    handlers: {
      state({ phase }) {
        if (phase === "live") board?.load();
        else thread.renew();
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
        ({ me, quick, pause } = frame);
        thread.offer(frame.replies);
        showPresence(frame.presence);
      },
      frame(frame) {
        if (frame.type === "pause" || frame.type === "pong") ({ pause } = frame);
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
const list = conversationList(render);
const thread = threadPane(conversations, connection, outbox, `${OWN}-draft-`, show);
const actions = actionsPane(connection);

/** @param {Message} message */
function add(message) {
  board?.add(message);
  const conversation = conversations.add(message);
  if (!conversation || !head || message.cursor <= head) return;
  head = message.cursor;
  if (message.from === "user") tell({ name: conversation.name, content: message.content });
}

/** Return the id of the open conversation. It is in the address, so that it survives a reload and "back" closes it. */
function opened() {
  return location.hash === TALLY ? "" : location.hash.slice(1);
}

function render() {
  const id = opened();
  const isLive = connection.state.phase === "live";
  const filter = /** @type {any} */ (document.querySelector("[name=filter]:checked")).value;
  const wanted = conversations.list(filter, byId("search").value, me?.id ?? 0);
  showLink(connection.state);
  showPause();
  // If even the oldest loaded conversation is unread, those that are not loaded probably are too.
  showUnread(conversations.unread, Boolean(oldest && conversations.first?.isUnread));
  list.show(wanted, id, Date.now());
  byId("older-conversations").hidden = !isLive || !(oldest || list.hasOlder());
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

function showPause() {
  byId("pause").hidden = !pause;
  byId("resume").hidden = !me?.unblock;
  byId("begin-pause").hidden = Boolean(pause) || !me?.block;
  if (!pause) return;
  const { since, until, by } = pause;
  const values = { since: clockTime(since), until: clockTime(until), name: by };
  byId("pause-text").textContent = text(by ? "pausedBy" : "paused", values);
}

/** @param {"pause" | "resume"} op */
async function changePause(op) {
  const answer = await connection.request({ action: "pause", op });
  byId("pause-notice").textContent = refusalOf(answer);
}

function showTally() {
  board ??= new TallyBoard(() => location.hash === TALLY);
  board.show(quick);
}

byId("older-conversations").onclick = async () => {
  if (!list.hasOlder()) {
    const page = await connection.older({ before: oldest });
    if (page) oldest = page.more ? page.cursor : undefined;
    render();
  }
  if (list.hasOlder()) list.back();
};

const help = () => byId("settings").showModal();

/** The commands by key. @type {Record<string, (target: HTMLElement) => void>} */
const COMMANDS = {
  j: () => list.step(1, opened()),
  k: () => list.step(-1, opened()),
  r: () => byId("text").focus(),
  c: () => actions.run("claim"),
  e: () => actions.run("close"),
  b: () => actions.run("block"),
  "/": () => byId("search").focus(),
  "?": help,
  Escape(target) {
    if (target.matches("textarea")) byId("thread-name").focus();
    else if (target.id === "search") list.step(0, opened());
    else location.hash = "";
  },
};
for (let number = 1; number < 10; number++) COMMANDS[number] = () => thread.insert(number);

/** @param {KeyboardEvent} press */
function onKey(press) {
  const target = /** @type {HTMLElement} */ (press.target);
  const command = COMMANDS[press.key];
  if (!command || document.querySelector("dialog[open]")) return;
  if (!isCommand(press, isOn.keys && !target.matches("textarea, input:not([type=radio]), select"))) return;
  press.preventDefault();
  command(target);
}

addEventListener("hashchange", (event) => {
  render();
  // If one pane replaces the other, the focus would stay on a hidden element.
  const left = new URL(event.oldURL).hash.slice(1);
  if (opened()) byId("thread-name").focus();
  else if (location.hash) byId("tally-name").focus();
  else within(byId("conversations").querySelector(`[data-key="${CSS.escape(left)}"]`) ?? byId("live"), "link")?.focus();
});

for (const name of ["search", "filters"]) byId(name).oninput = list.renew;
byId("open-settings").onclick = help;
byId("begin-pause").onclick = () => {
  byId("settings").close();
  changePause("pause");
};
byId("resume").onclick = () => changePause("resume");
byId("try-now").onclick = () => connection.wake();
addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", show);
byId("live").dataset.keys = isOn.keys;
setInterval(show, AGES_MS);
render();
connection.run();
