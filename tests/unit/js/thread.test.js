import assert from "node:assert/strict";
import { test } from "node:test";

import { Thread } from "../../../static/messaging/messages.js";
import { message } from "./fakes.js";

test("messages stand in the order of their cursors, however they arrive", () => {
  const thread = new Thread();
  for (const cursor of ["03", "01", "10", "02"]) thread.add(message(cursor));
  assert.deepEqual(
    thread.messages.map(({ cursor }) => cursor),
    ["01", "02", "03", "10"],
  );
  assert.deepEqual([thread.oldest.cursor, thread.newest.cursor], ["01", "10"]);
});

test("a message that arrives again is not shown again", () => {
  const thread = new Thread();
  assert.equal(thread.add(message("01")), true);
  assert.equal(thread.add(message("01")), false);
  assert.deepEqual(thread.messages, [message("01")]);
});

test("a cleared thread takes the same messages again", () => {
  const thread = new Thread();
  thread.add(message("01"));
  thread.clear();
  assert.deepEqual(thread.messages, []);
  assert.equal(thread.add(message("01")), true);
});
