import assert from "node:assert/strict";
import { test } from "node:test";

import "./document.js";
import { FakeClock } from "./fakes.js";

const { commandOf, inWords, PACE_MS, Summary } = await import("../../../static/messaging/staff.js");
const { BARS, Tally } = await import("../../../static/messaging/tally.js");

test("what comes alone is told at once, and a flood in summary", async () => {
  const clock = new FakeClock();
  const told = [];
  const summary = new Summary((arrivals) => told.push(inWords(arrivals)), clock);
  summary.add({ name: "Fox", content: "hello" });
  await clock.pass(0);
  assert.deepEqual(told.splice(0), ["Fox: hello"]);
  for (let number = 0; number < 100; number++) {
    summary.add({ name: number % 2 ? "Fox" : "Owl", content: "hey" });
    await clock.pass(10);
  }
  assert.deepEqual(told, []);
  await clock.pass(PACE_MS);
  assert.deepEqual(told.splice(0), ["100 from 2"]);
  summary.add({ name: "Owl", content: "one" });
  summary.add({ name: "Owl", content: "two" });
  await clock.pass(PACE_MS);
  assert.deepEqual(told.splice(0), ["2 from Owl"]);
  await clock.pass(PACE_MS);
  summary.add({ name: "Owl", content: "alone" });
  await clock.pass(0);
  assert.deepEqual(told, ["Owl: alone"]);
});

const press = (key, more = {}) => commandOf({ key, ...more }, { writing: false, characters: true, ...more });

test("a key means its command, and a number its canned reply", () => {
  assert.deepEqual(["j", "k", "r", "c", "e", "b", "/", "?", "Escape"].map((key) => press(key)), [
    "next", "previous", "reply", "claim", "close", "block", "search", "help", "back",
  ]);
  assert.deepEqual(["1", "9", "0", "x", "Enter"].map((key) => press(key)), [1, 9, undefined, undefined, undefined]);
});

test("in a field, with a modifier, or switched off, characters are characters", () => {
  for (const more of [{ writing: true }, { characters: false }, { ctrlKey: true }, { isComposing: true }]) {
    assert.equal(press("j", more), undefined);
  }
  assert.equal(press("Escape", { writing: true }), "back");
});

const NOW = Date.parse("2026-01-01T12:00:00Z");
const QUICK = [{ key: "slow", label: "Slower" }];

function tapped(cursor, secondsAgo, more = {}) {
  const timestamp = new Date(NOW - secondsAgo * 1000).toISOString();
  return { messageId: `m${cursor}`, cursor, timestamp, from: "user", quick: "slow", content: "", ...more };
}

function figures(tally, now = NOW) {
  return tally.rows(QUICK, now).map(({ label, one, ten }) => [label, one, ten]);
}

test("the tally goes on counting where the server's count ends", () => {
  const tally = new Tally();
  tally.add(tapped("02", 3)); // the server has counted it
  tally.add(tapped("04", 1)); // this one came later
  const counts = [{ quick: "slow", second: NOW / 1000 - 300, count: 7 }, { quick: "slow", second: NOW / 1000 - 3, count: 2 }];
  tally.load({ cursor: "03", now: NOW, counts }, NOW);
  assert.deepEqual(figures(tally), [["Slower", 3, 10]]);
  for (const message of [tapped("04", 1), tapped("02", 3), tapped("05", 0)]) tally.add(message);
  assert.deepEqual(figures(tally), [["Slower", 4, 11]]);
});

test("what is not a visitor's quick message does not count", () => {
  const tally = new Tally();
  tally.load({ cursor: "01", now: NOW, counts: [] }, NOW);
  tally.add(tapped("02", 0, { quick: undefined }));
  tally.add(tapped("03", 0, { from: "admin" }));
  assert.deepEqual(figures(tally), [["Slower", 0, 0]]);
});

test("minutes end, by the server's clock", () => {
  const tally = new Tally();
  tally.load({ cursor: "01", now: NOW, counts: [{ quick: "slow", second: NOW / 1000, count: 5 }] }, NOW - 3_600_000);
  const later = (seconds) => figures(tally, NOW - 3_600_000 + seconds * 1000)[0].slice(1);
  assert.deepEqual([later(59), later(60), later(599), later(600)], [[5, 5], [0, 5], [0, 5], [0, 0]]);
});

test("the plot has the newest at its end, and a message that is no longer offered keeps its key", () => {
  const tally = new Tally();
  const counts = [{ quick: "old", second: NOW / 1000 - 599, count: 1 }, { quick: "old", second: NOW / 1000, count: 2 }];
  tally.load({ cursor: "01", now: NOW, counts }, NOW);
  const [row] = tally.rows(QUICK, NOW);
  assert.deepEqual([row.label, row.bars.length, row.bars[0], row.bars.at(-1)], ["old", BARS, 1, 2]);
});
