import assert from "node:assert/strict";
import { test } from "node:test";

import { MOST_ENTRIES, OLDEST_MS, Outbox } from "../../../static/messaging/messages.js";
import { FakeStorage } from "./fakes.js";

const contents = (outbox) => outbox.entries().map(({ content }) => content);

test("what was written survives a reload, in its order", () => {
  const storage = new FakeStorage();
  const before = new Outbox("outbox", storage);
  for (const content of ["first", "second", "third"]) before.add({ content });
  assert.deepEqual(contents(new Outbox("outbox", storage)), ["first", "second", "third"]);
});

test("ids are what the protocol allows", () => {
  const outbox = new Outbox("outbox", null);
  for (let count = 0; count < MOST_ENTRIES; count++) outbox.add({ content: "x" });
  const ids = outbox.entries().map(({ id }) => id);
  for (const id of ids) assert.match(id, /^[A-Za-z0-9_-]{8,64}$/);
  assert.equal(new Set(ids).size, MOST_ENTRIES);
});

test("a full outbox refuses a message instead of dropping one", () => {
  const outbox = new Outbox("outbox", new FakeStorage());
  for (let count = 0; count < MOST_ENTRIES; count++) outbox.add({ content: `${count}` });
  assert.equal(outbox.add({ content: "one too many" }), false);
  assert.equal(outbox.entries().length, MOST_ENTRIES);
});

test("a message that waited for a day is not sent unless the person asks again", (context) => {
  const now = context.mock.method(Date, "now", () => 0).mock;
  const outbox = new Outbox("outbox", new FakeStorage());
  outbox.add({ content: "old" });
  const [{ id }] = outbox.entries();
  now.mockImplementation(() => OLDEST_MS);
  assert.equal(outbox.next(), undefined);
  assert.equal(outbox.entries()[0].failed, "expired");
  outbox.retry(id);
  assert.equal(outbox.next().id, id);
});

test("outboxes with different names do not see each other", () => {
  const storage = new FakeStorage();
  new Outbox("user", storage).add({ content: "mine" });
  assert.deepEqual(contents(new Outbox("live", storage)), []);
});

test("two tabs that write at once keep both messages", () => {
  const storage = new FakeStorage();
  const [one, other] = [new Outbox("outbox", storage), new Outbox("outbox", storage)];
  one.add({ content: "from one" });
  other.add({ content: "from the other" });
  assert.deepEqual(contents(new Outbox("outbox", storage)).sort(), ["from one", "from the other"]);
});

test("a tab follows what another one adds, and learns its ack", () => {
  const outbox = new Outbox("outbox", new FakeStorage());
  const learned = [];
  outbox.onSettledElsewhere = (entry) => learned.push(entry.ack.messageId);
  const entry = { id: "id", at: Date.now(), content: "from the other" };

  outbox.onStorage({ key: "outbox:id", newValue: JSON.stringify(entry) });
  assert.deepEqual(contents(outbox), ["from the other"]);
  outbox.onStorage({ key: "outbox:id", newValue: JSON.stringify({ ...entry, ack: { messageId: "m1" } }) });
  outbox.onStorage({ key: "outbox:id", newValue: null });
  assert.deepEqual([contents(outbox), learned], [[], ["m1"]]);
});

test("a storage without room does not lose the message while the page lives", () => {
  const storage = new FakeStorage();
  storage.setItem = () => {
    throw new Error("QuotaExceededError");
  };
  const outbox = new Outbox("outbox", storage);
  outbox.add({ content: "kept" });
  assert.deepEqual(contents(outbox), ["kept"]);
});
