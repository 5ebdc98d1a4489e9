import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversations, MOST, visitorName, Window } from "../../../static/messaging/conversations.js";
import { message } from "./fakes.js";

const ids = (conversations) => conversations.map(({ id }) => id);
const asked = (conversation, cursor, content = "hello") => message(cursor, { conversation, content, from: "user" });

function three() {
  const conversations = new Conversations();
  for (const [id, cursor] of [
    ["a", "03"],
    ["b", "01"],
    ["c", "02"],
  ])
    conversations.add(asked(id, cursor, `about ${id}`));
  return conversations;
}

test("the conversation that spoke last is last, however its messages came", () => {
  const conversations = three();
  assert.deepEqual(ids(conversations.list("all", "", 1)), ["b", "c", "a"]);
  conversations.add(asked("b", "04"));
  assert.deepEqual(ids(conversations.list("all", "", 1)), ["c", "a", "b"]);
});

test("a message that is known is not news", () => {
  const conversations = three();
  assert.equal(conversations.add(asked("a", "03")), null);
  assert.equal(conversations.add(asked("a", "04")).id, "a");
});

test("unread is what a visitor wrote behind the place that staff have read up to, and no older word moves that back", () => {
  const conversations = three();
  assert.equal(conversations.unread, 3);
  conversations.learn({ conversation: "a", status: "open", readByStaff: "03" });
  conversations.learn({ conversation: "a", status: "open", readByStaff: "02" });
  assert.deepEqual(ids(conversations.list("unread", "", 1)), ["b", "c"]);
  conversations.add(message("05", { conversation: "a", from: "admin" }));
  assert.deepEqual(ids(conversations.list("unread", "", 1)), ["b", "c"]);
  conversations.add(asked("a", "06"));
  assert.deepEqual(ids(conversations.list("unread", "", 1)), ["b", "c", "a"]);
});

test("filters go by who claims and what is closed", () => {
  const conversations = three();
  conversations.learn({ conversation: "a", status: "open", claimedBy: { id: 1, name: "Ada" }, timestamp: "1" });
  conversations.learn({ conversation: "b", status: "closed", timestamp: "1" });
  assert.deepEqual(ids(conversations.list("mine", "", 1)), ["a"]);
  assert.deepEqual(ids(conversations.list("mine", "", 2)), []);
  assert.deepEqual(ids(conversations.list("unclaimed", "", 1)), ["c"]);
  assert.deepEqual(ids(conversations.list("closed", "", 1)), ["b"]);
});

test("of two words on a conversation the later one counts, in whatever order they come", () => {
  const conversations = three();
  conversations.learn({ conversation: "a", status: "closed", timestamp: "2026-01-02" });
  conversations.learn({ conversation: "a", status: "open", timestamp: "2026-01-01" });
  assert.equal(conversations.get("a").isClosed, true);
});

test("a search finds names, claimers and all that was said", () => {
  const conversations = three();
  conversations.learn({ conversation: "b", status: "open", claimedBy: { id: 1, name: "Ada" } });
  assert.deepEqual(ids(conversations.list("all", " ABOUT c", 1)), ["c"]);
  assert.deepEqual(ids(conversations.list("all", "ada", 1)), ["b"]);
});

test("an erased conversation is gone", () => {
  const conversations = three();
  const erased = conversations.get("a");
  conversations.learn({ conversation: "a", status: "erased" });
  assert.deepEqual([conversations.get("a"), erased.state.status], [undefined, "erased"]);
});

test("a block ends by itself", () => {
  const conversations = three();
  conversations.learn({ conversation: "a", status: "open", blockedUntil: "2026-01-01T00:00:00.000Z" });
  const end = Date.parse("2026-01-01T00:00:00.000Z");
  assert.deepEqual(
    [end - 1, end].map((now) => conversations.get("a").isBlocked(now)),
    [true, false],
  );
});

test("a visitor has the same name on every screen", () => {
  assert.equal(
    visitorName("0193b1c2-0000-7000-8000-00000029f3a1"),
    visitorName("0193b1c2-0000-7000-8000-00000029f3a1"),
  );
  assert.match(visitorName("0193b1c2-0000-7000-8000-00000029f3a1"), /^[A-Z]\w+ [A-Z]\w+ f3a1$/);
});

const items = (count) => Array.from({ length: count }, (_, index) => ({ cursor: String(index).padStart(6, "0") }));
const range = ({ items, before, after }) => [items[0]?.cursor, items.at(-1)?.cursor, before, after];

test("a window follows the end of a long list", () => {
  const window = new Window();
  assert.deepEqual(range(window.of([])), [undefined, undefined, 0, 0]);
  assert.deepEqual(range(window.of(items(MOST))), ["000000", "000499", 0, 0]);
  assert.deepEqual(range(window.of(items(1200))), ["000700", "001199", 700, 0]);
});

test("a window that went back stays there while the list grows, and never shows less than it can", () => {
  const window = new Window();
  window.move(items(1200), -1);
  assert.deepEqual(range(window.of(items(1200))), ["000450", "000949", 450, 250]);
  assert.deepEqual(range(window.of(items(1300))), ["000450", "000949", 450, 350]);
  window.move(items(1300), -1);
  window.move(items(1300), -1);
  assert.deepEqual(range(window.of(items(1300))), ["000000", "000499", 0, 800]);
  window.move(items(1300), -1);
  assert.deepEqual(range(window.of(items(1300))), ["000000", "000499", 0, 800]);
});

test("a window that comes to the end follows it again", () => {
  const window = new Window();
  window.move(items(1200), -1);
  window.move(items(1200), 1);
  assert.deepEqual(range(window.of(items(1201))), ["000701", "001200", 701, 0]);
});
