// @ts-check
/** The stage view, for a projector. Visitors' messages are shown only if the staff member switches that on. */

import { byId, connect } from "./page.js";
import { credentials, OWN, showLink, showPresence } from "./staff.js";
import { TallyBoard } from "./tally.js";
import { together } from "./view.js";

const board = new TallyBoard(() => true);
/** @type {import("./messages.js").Message | undefined} */
let last;

const { connection } = connect(
  `${OWN}-outbox`, // a waiting reply of the live page is sent from here too
  {
    role: "admin",
    credentials,
    handlers: {
      state({ phase }) {
        if (phase === "live") board.load();
        show();
      },
      messages(messages) {
        for (const message of messages) {
          board.add(message);
          if (message.from === "user" && message.cursor > (last?.cursor ?? "")) last = message;
        }
        show();
      },
      reset() {},
      newest() {},
      identified(frame) {
        board.show(frame.quick);
        showPresence(frame.presence);
      },
      frame(frame) {
        if (frame.type === "presence") showPresence(/** @type {any} */ (frame));
        if (frame.status === "erased" && frame.conversation === last?.conversation) last = undefined;
        show();
      },
    },
  },
  () => show(),
);

const show = together(() => {
  showLink(connection.state);
  board.show();
  byId("last").hidden = !last || !byId("show-texts").checked;
  byId("last").textContent = byId("last").hidden ? "" : last?.content;
});

byId("show-texts").addEventListener("change", show);
byId("try-now").addEventListener("click", () => connection.wake());
show();
connection.run();
