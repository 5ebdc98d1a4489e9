// @ts-check
/** The visitor's page. */

import { byId, connect, showStatus, storage, turn } from "./page.js";
import { Thread } from "./thread.js";
import { attempt, Composer, reconcile, ThreadView, together } from "./view.js";

/** @typedef {{key: string, label: string, content: string}} Quick */

const TOKEN = "messaging-visitor";

const thread = new Thread();
let pageToken = storage?.getItem(TOKEN) ?? undefined;
let hasOlder = false;
let letNext = () => {};

/** Only one tab at a time becomes a new visitor; the others take over its token. */
async function credentials() {
  if (storage && !storage.getItem(TOKEN)) letNext = await turn(TOKEN);
  return { token: storage?.getItem(TOKEN) ?? pageToken };
}

const { connection, outbox } = connect(
  "messaging-outbox-user",
  {
    role: "user",
    credentials,
    forgetCredentials() {
      pageToken = undefined;
      storage?.removeItem(TOKEN);
    },
    handlers: {
      state(state) {
        if (state.phase !== "connecting") letNext();
        show();
      },
      messages(messages) {
        messages.forEach((message) => thread.add(message));
        show();
      },
      reset() {
        thread.clear();
        show();
      },
      newest(more) {
        hasOlder = more;
        show();
      },
      identified(frame) {
        pageToken = frame.token;
        storage?.setItem(TOKEN, frame.token);
        letNext();
        showQuick(frame.quick);
      },
    },
  },
  () => show(),
);

const view = new ThreadView(
  "user",
  (id) => connection.retry(id),
  (id) => outbox.remove(id),
);

const composer = new Composer(
  (content) => send({ content }),
  (event) => !event.shiftKey,
);

/** @param {import("./outbox.js").Draft} draft */
function send(draft) {
  connection.send(draft);
  render(true);
}

/** The buttons came with the page; the server may have changed them since. @param {Quick[]} quick */
function showQuick(quick) {
  reconcile(
    byId("quick"),
    quick,
    ({ key }) => key,
    () => document.createElement("button"),
    (button, { label, content }) => {
      button.textContent = label;
      button.dataset.content = content;
    },
  );
}

byId("quick").addEventListener("click", (/** @type {any} */ event) => {
  const button = event.target.closest("button");
  if (button) attempt(() => send({ content: button.dataset.content, quick: button.dataset.key }));
});

byId("older").addEventListener("click", async () => {
  const page = await connection.older({ before: thread.oldest?.cursor });
  if (page) hasOlder = page.more;
  show();
});

byId("try-now").addEventListener("click", () => connection.wake());

/** @param {import("./connection.js").State} state */
function words({ phase, code, lastLive }) {
  if (phase === "live") return "Connected. Your messages are kept.";
  if (phase === "stopped") {
    return code === 4403 ? "You can’t send messages here at the moment." : "Something went wrong. Please reload the page.";
  }
  if (!navigator.onLine) return "You are offline. Your messages go out when you are back.";
  if (lastLive) return "Connection lost. Reconnecting …";
  return phase === "waiting" ? "No connection yet. Trying again …" : "Connecting …";
}

/** @param {boolean} toEnd */
function render(toEnd) {
  const { state } = connection;
  const entries = outbox.entries();
  showStatus(state.phase, words(state), { retry: state.phase === "waiting" || state.phase === "stopped" });
  view.show(thread.messages, entries, toEnd);
  byId("older").hidden = !hasOlder || state.phase !== "live";
  byId("empty").hidden = thread.messages.length + entries.length > 0;
}

const show = together(() => render(false));
composer.open("messaging-draft-user");
addEventListener("offline", show);
byId("write").disabled = false;
connection.run();
