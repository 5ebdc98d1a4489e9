import assert from "node:assert/strict";
import { test } from "node:test";

import "./document.js";
import { FakeClock } from "./fakes.js";

const { inWords, isCommand, PACE_MS, summary } = await import("../../../static/messaging/staff.js");
const { BARS, Tally } = await import("../../../static/messaging/tally.js");

test("what comes alone is told at once, and a flood in summary", async () => {
  const clock = new FakeClock().install();
  const told = [];
  const tell = summary((arrivals) => told.push(inWords(arrivals)));
  tell({ name: "Fox", content: "hello" });
  await clock.pass(0);
  assert.deepEqual(told.splice(0), ["Fox: hello"]);
  for (let number = 0; number < 100; number++) {
    tell({ name: number % 2 ? "Fox" : "Owl", content: "hey" });
    await clock.pass(10);
  }
  assert.deepEqual(told, []);
  await clock.pass(PACE_MS);
  assert.deepEqual(told.splice(0), ["100 from 2"]);
  tell({ name: "Owl", content: "one" });
  tell({ name: "Owl", content: "two" });
  await clock.pass(PACE_MS);
  assert.deepEqual(told.splice(0), ["2 from Owl"]);
  await clock.pass(PACE_MS);
  tell({ name: "Owl", content: "alone" });
  await clock.pass(0);
  assert.deepEqual(told, ["Owl: alone"]);
});

test("in a field, with a modifier, or switched off, characters are characters", () => {
  assert.equal(isCommand({ key: "j" }, true), true);
  for (const more of [
    { ctrlKey: true },
    { altKey: true },
    { metaKey: true },
    { isComposing: true },
    { defaultPrevented: true },
  ]) {
    assert.equal(isCommand({ key: "j", ...more }, true), false);
    assert.equal(isCommand({ key: "Escape", ...more }, true), false);
  }
  assert.equal(isCommand({ key: "j" }, false), false);
  assert.equal(isCommand({ key: "Escape" }, false), true);
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
  tally.add(tapped("02", 3)); // the server's count includes it
  tally.add(tapped("04", 1)); // the server's count does not include it
  const counts = [
    { quick: "slow", second: NOW / 1000 - 300, count: 7 },
    { quick: "slow", second: NOW / 1000 - 3, count: 2 },
  ];
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
  assert.deepEqual(
    [later(59), later(60), later(599), later(600)],
    [
      [5, 5],
      [0, 5],
      [0, 5],
      [0, 0],
    ],
  );
});

test("the plot has the newest at its end, and a message that is no longer offered keeps its key", () => {
  const tally = new Tally();
  const counts = [
    { quick: "old", second: NOW / 1000 - 599, count: 1 },
    { quick: "old", second: NOW / 1000, count: 2 },
  ];
  tally.load({ cursor: "01", now: NOW, counts }, NOW);
  const [row] = tally.rows(QUICK, NOW);
  assert.deepEqual([row.label, row.bars.length, row.bars[0], row.bars.at(-1)], ["old", BARS, 1, 2]);
});
