import assert from "node:assert/strict";
import { test } from "node:test";

import { ack, error, message, settled, setUp } from "./fakes.js";

test("a new page identifies itself and loads the newest messages before it says live", async () => {
  const page = setUp();
  await settled();
  assert.equal(page.socket.url, "ws://server/ws");
  await page.socket.open();
  const [identify] = page.socket.take();
  assert.deepEqual(identify, { action: "identify", v: 2, type: "user", token: "token", seen: "", id: identify.id });

  await page.socket.answer({ type: "identified", id: identify.id, recovered: false, conversation: "c" });
  assert.deepEqual(page.take(), ["connecting", "reset"]);
  const request = await page.history({ messages: [message("01"), message("02")], more: true });
  assert.deepEqual(request, { action: "history", id: request.id, limit: 100 });
  assert.deepEqual(page.take(), ["text 01", "text 02", "newest, more", "live"]);
});

test("a greeting is not waited for, and what comes before the identified moves no place", async () => {
  const page = await setUp().live();
  await page.socket.end();
  await page.clock.pass(500);
  await page.socket.open();
  const [identify] = page.socket.take();
  await page.socket.answer({ type: "connection", heartbeatMs: 240_000 });
  await page.socket.answer(message("13"));
  await page.socket.answer({ type: "identified", id: identify.id, conversation: "c", recovered: true });
  const request = await page.history({ messages: [message("12"), message("13")], cursor: "13" });
  assert.equal(request.since, "10");
  assert.deepEqual(page.take(), ["waiting 1006", "connecting", "text 13", "text 12", "text 13", "live"]);
});

test("a reconnect asks for everything since the last page, page by page", async () => {
  const page = await setUp().live();
  await page.socket.end();
  await page.clock.pass(500);
  await page.socket.open();
  const [identify] = page.socket.take();
  assert.equal(identify.since, "10");

  await page.socket.answer({ type: "identified", id: identify.id, conversation: "c", recovered: true });
  const first = await page.history({ messages: [message("11")], cursor: "11", more: true });
  const second = await page.history({ messages: [message("12")], cursor: "12" });
  assert.deepEqual([first.since, second.since], ["10", "11"]);
  assert.deepEqual(page.take(), ["waiting 1006", "connecting", "text 11", "text 12", "live"]);
});

test("a page that comes in parts is asked for once", async () => {
  const page = setUp();
  await page.identify();
  const [{ id }] = page.socket.take();
  const part = { type: "history", id, messages: [message("01")], cursor: "01", more: true, partial: true };
  await page.socket.answer(part);
  assert.deepEqual(page.socket.take(), []);
  await page.socket.answer({ type: "history", id, messages: [message("02")], cursor: "02", more: false });
  assert.deepEqual(page.take(), ["connecting", "reset", "text 01", "text 02", "newest", "live"]);
  assert.deepEqual(page.socket.take(), []);
});

test("a cut in the middle of a page goes on behind the part that arrived", async () => {
  const page = await setUp().live();
  await page.socket.end();
  await page.clock.pass(500);
  await page.identify();
  const [{ id }] = page.socket.take();
  await page.socket.answer({ type: "history", id, messages: [message("11")], cursor: "11", more: true, partial: true });
  await page.socket.end();
  await page.clock.pass(1000);
  await page.identify();
  assert.equal((await page.history()).since, "11");
});

test("a cut in the middle of the newest page reads it anew: its end says whether there are older messages", async () => {
  const page = setUp();
  await page.identify();
  const [{ id }] = page.socket.take();
  await page.socket.answer({ type: "history", id, messages: [message("01")], cursor: "01", more: true, partial: true });
  await page.socket.end();
  await page.clock.pass(500);
  await page.identify();
  page.take();
  assert.equal(
    (await page.history({ messages: [message("01"), message("02")], cursor: "02", more: true })).since,
    undefined,
  );
  assert.deepEqual(page.take(), ["text 01", "text 02", "newest, more", "live"]);
});

test("a place that the server does not know any more starts the page afresh", async () => {
  const page = await setUp().live();
  await page.socket.end();
  await page.clock.pass(500);
  await page.identify({ recovered: false });
  assert.deepEqual(page.take(), ["waiting 1006", "connecting", "reset"]);
  assert.equal((await page.history()).since, undefined);
});

test("a live message does not vouch for those before it", async () => {
  const page = await setUp().live();
  await page.socket.answer(message("12"));
  await page.socket.end();
  await page.clock.pass(500);
  await page.identify();
  assert.equal((await page.history()).since, "10");
});

test("a pong that knows of a newer message fetches what was missed", async () => {
  const page = await setUp().live();
  await page.clock.pass(25_000);
  const [ping] = page.socket.take();
  assert.deepEqual(ping, { action: "ping", id: ping.id });
  await page.socket.answer({ type: "pong", id: ping.id, cursor: "11" });
  assert.equal((await page.history({ messages: [message("11")], cursor: "11" })).since, "10");
  assert.deepEqual(page.take(), ["text 11"]);
});

test("a pong whose cursor sorts behind all of them fetches even where the newest message is known", async () => {
  const page = await setUp().live();
  await page.socket.answer(message("12"));
  page.take();
  await page.clock.pass(25_000);
  const [ping] = page.socket.take();
  await page.socket.answer({ type: "pong", id: ping.id, cursor: "~" });
  const request = await page.history({ messages: [message("11"), message("12")], cursor: "12" });
  assert.equal(request.since, "10");
  assert.deepEqual(page.take(), ["text 11", "text 12"]);
});

test("a pong that knows nothing newer moves the place to resume from", async () => {
  const page = await setUp().live();
  await page.socket.answer(message("12"));
  await page.clock.pass(25_000);
  const [ping] = page.socket.take();
  await page.socket.answer({ type: "pong", id: ping.id, cursor: "12" });
  assert.deepEqual(page.socket.take(), []);
  await page.socket.end();
  await page.clock.pass(500);
  await page.identify();
  assert.equal((await page.history()).since, "12");
});

test("a pong that knows only what the history went up to asks for nothing, though no message came", async () => {
  const page = await setUp().live();
  await page.clock.pass(25_000);
  const [ping] = page.socket.take();
  await page.socket.answer({ type: "pong", id: ping.id, cursor: "10" });
  assert.deepEqual(page.socket.take(), []);
});

test("a message waits in the outbox until its ack", async () => {
  const page = await setUp().live();
  page.connection.send({ content: "hello", quick: "hi" });
  await settled();
  const [frame] = page.socket.take();
  assert.deepEqual(frame, { action: "sendMessage", id: frame.id, content: "hello", quick: "hi" });
  assert.equal(page.outbox.entries().length, 1);

  await page.socket.answer(ack(frame.id, "11"));
  assert.deepEqual(page.outbox.entries(), []);
  assert.deepEqual(page.take(), ["hello"]);
});

test("a message without an ack is sent again under the same id, even after a reload", async () => {
  const page = await setUp().live();
  page.connection.send({ content: "hello" });
  await settled();
  const [first] = page.socket.take();
  await page.socket.end();
  await page.clock.pass(500);
  await page.identify();
  assert.deepEqual(page.socket.take()[0], first);

  const reloaded = setUp({ storage: page.storage });
  await reloaded.identify();
  assert.deepEqual(reloaded.socket.take()[0], first);
});

test("a message that comes back before its ack is settled by its id", async () => {
  const page = await setUp().live();
  page.connection.send({ content: "hello" });
  const [{ id }] = page.outbox.entries();
  await page.socket.answer(message("11", { id, from: "user" }));
  assert.deepEqual(page.outbox.entries(), []);
});

test("messages go out one at a time, so that a refused one is not overtaken", async () => {
  const page = await setUp().live();
  for (const content of ["first", "second"]) page.connection.send({ content });
  await settled();
  const [first, ...others] = page.socket.take();
  assert.deepEqual([first.content, others], ["first", []]);

  await page.socket.answer(error(first.id, "rate_limited", { retryAfterMs: 3000 }));
  await page.clock.pass(2999);
  assert.deepEqual(page.socket.take(), []);
  await page.clock.pass(501);
  assert.deepEqual(page.socket.take(), [first]);
  await page.socket.answer(ack(first.id, "11"));
  assert.deepEqual(
    page.socket.take().map(({ content }) => content),
    ["second"],
  );
});

test("a refused message says why and lets the next one go", async () => {
  const page = await setUp().live();
  for (const content of ["bad", "good"]) page.connection.send({ content });
  await settled();
  const [bad] = page.socket.take();
  await page.socket.answer(error(bad.id, "too_long"));
  assert.deepEqual(
    page.outbox.entries().map(({ content, failed }) => ({ content, failed })),
    [
      { content: "bad", failed: "too_long" },
      { content: "good", failed: undefined },
    ],
  );
  assert.equal(page.socket.take()[0].content, "good");
});

test("a message is sent before the history has arrived", async () => {
  const page = setUp();
  page.connection.send({ content: "hello" });
  await page.identify();
  assert.deepEqual(
    page.socket.take().map(({ action }) => action),
    ["sendMessage", "history"],
  );
});

test("it tries for ever, with growing delays up to half a minute", async () => {
  const page = setUp();
  await settled();
  for (const delay of [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]) {
    const tries = page.sockets.length;
    await page.socket.end();
    await page.clock.pass(delay - 1);
    assert.equal(page.sockets.length, tries);
    await page.clock.pass(1);
    assert.equal(page.sockets.length, tries + 1);
  }
});

test("delays are drawn from the whole range", async () => {
  const page = setUp({ random: () => 0 });
  await settled();
  await page.socket.end();
  await page.clock.pass(0);
  assert.equal(page.sockets.length, 2);
});

test("a link that held for ten seconds starts the delays anew", async () => {
  const page = setUp();
  await settled();
  for (const delay of [500, 1000]) {
    await page.socket.end();
    await page.clock.pass(delay);
  }
  await page.live();
  await page.clock.pass(10_000);
  await page.socket.end();
  await page.clock.pass(500);
  assert.equal(page.sockets.length, 4);
});

test("a link is replaced before a gateway would cut it, each page's at a time of its own", async () => {
  for (const [random, minutes] of [
    [0, 104.5],
    [1, 115.5],
  ]) {
    const page = await setUp({ random: () => random, heartbeatMs: 240_000 }).live();
    await page.socket.answer(message("10"));
    for (let passed = 0; passed < minutes * 60_000 - 1; passed += 30_000) {
      assert.equal(page.socket.isClosed, false);
      await page.clock.pass(30_000);
      for (const { id } of page.socket.take()) await page.socket.answer({ type: "pong", id, cursor: "10" });
    }
    assert.equal(page.sockets[0].isClosed, true);
    await page.clock.pass(500);
    await page.identify();
    assert.equal((await page.history()).since, "10");
  }
});

test("the server's own delay is kept", async () => {
  const page = await setUp().live();
  await page.socket.answer({ type: "serverShutdown", reconnectAfterMs: 7000 });
  await page.socket.end(4001);
  await page.clock.pass(6999);
  assert.equal(page.sockets.length, 1);
  await page.clock.pass(1);
  assert.equal(page.sockets.length, 2);
});

test("a refusal stops until a person acts", async () => {
  const page = await setUp().live();
  await page.socket.end(4403);
  await page.clock.pass(3_600_000);
  assert.deepEqual([page.sockets.length, page.take()], [1, ["stopped 4403"]]);
  page.connection.wake();
  await settled();
  assert.equal(page.sockets.length, 2);
});

for (const [code, close] of Object.entries({ forbidden: 4403, too_large: 4413 })) {
  test(`the error ${code} stops, whatever the close code that comes behind it`, async () => {
    const page = await setUp().live();
    page.connection.send({ content: "hello" });
    await settled();
    const [{ id }] = page.socket.take();
    await page.socket.answer(error(id, code));
    assert.equal(page.outbox.entries()[0].failed, code);
    await page.socket.end(1000);
    await page.clock.pass(3_600_000);
    assert.deepEqual([page.sockets.length, page.take()], [1, [`stopped ${close}`]]);
  });
}

test("a blocked page keeps its link and the message", async () => {
  const page = await setUp().live();
  page.connection.send({ content: "hello" });
  await settled();
  const [{ id }] = page.socket.take();
  await page.socket.answer(error(id, "blocked"));
  assert.equal(page.outbox.entries()[0].failed, "blocked");
  assert.deepEqual([page.sockets.length, page.connection.state.phase], [1, "live"]);
});

test("a message that found a pause is sent again later, or at once when the pause ends", async () => {
  const page = await setUp().live();
  page.connection.send({ content: "hello" });
  await settled();
  const [{ id }] = page.socket.take();
  await page.socket.answer(error(id, "paused", { retryAfterMs: 6_000 }));
  await page.clock.pass(5_000);
  assert.deepEqual(page.outbox.entries()[0].failed, undefined);
  const early = page.socket.take().filter(({ action }) => action === "sendMessage");
  page.connection.resume();
  await settled();
  const sent = page.socket.take().filter(({ action }) => action === "sendMessage");
  assert.deepEqual([early, sent.map((frame) => frame.id)], [[], [id]]);
});

test("an identify that came too late is no refusal", async () => {
  const page = await setUp().live();
  await page.socket.end(4408);
  await page.clock.pass(500);
  assert.equal(page.sockets.length, 2);
});

test("refused credentials are replaced once", async () => {
  const page = setUp();
  for (const tries of [1, 2]) {
    await settled();
    assert.equal(page.sockets.length, tries);
    await page.socket.open();
    const [{ id }] = page.socket.take();
    await page.socket.answer(error(id, "unauthorized"));
    await page.clock.pass(0);
  }
  await page.clock.pass(3_600_000);
  assert.equal(page.sockets.length, 2);
  const again = ["forget credentials", "waiting 4401", "connecting", "forget credentials", "stopped 4401"];
  assert.deepEqual(page.take(), ["connecting", ...again]);
});

test("without credentials it stops without a try", async () => {
  const page = setUp({ credentials: () => Promise.resolve(null) });
  await settled();
  await page.clock.pass(0);
  assert.deepEqual([page.sockets.length, page.take().at(-1)], [0, "stopped 4401"]);
});

test("credentials that could not be fetched are fetched again", async () => {
  let tries = 0;
  const page = setUp({ credentials: () => (tries++ ? Promise.resolve({}) : Promise.reject(new TypeError())) });
  await settled();
  await page.clock.pass(500);
  assert.equal(page.sockets.length, 1);
});

test("a server whose store is down is asked again later", async () => {
  const page = setUp();
  await settled();
  await page.socket.open();
  const [{ id }] = page.socket.take();
  await page.socket.answer(error(id, "unavailable", { retryAfterMs: 1000 }));
  await page.clock.pass(1499);
  assert.equal(page.sockets.length, 1);
  await page.clock.pass(1);
  assert.equal(page.sockets.length, 2);
});

test("a socket that never opens is given up after ten seconds", async () => {
  const page = setUp();
  await settled();
  await page.clock.pass(10_500);
  assert.deepEqual([page.sockets.length, page.sockets[0].isClosed], [2, true]);
});

test("a link that owes an answer and says nothing is dead after ten seconds", async () => {
  const page = await setUp().live();
  await page.clock.pass(25_000 + 9_999);
  assert.deepEqual(page.take(), []);
  await page.clock.pass(1);
  assert.deepEqual(page.take(), ["waiting"]);
  assert.equal(page.socket.isClosed, true);
  assert.equal(page.connection.state.lastLive, 1_000_000);
});

test("without a network, a link has two seconds to show that it lives, whatever else it owes", async () => {
  for (const answers of [false, true]) {
    const page = await setUp().live();
    page.connection.send({ content: "hello" });
    navigator.onLine = false;
    page.connection.wake();
    const { id } = page.socket.take().find(({ action }) => action === "ping");
    await page.clock.pass(1999);
    if (answers) await page.socket.answer({ type: "pong", id, cursor: "10" }, ack(page.outbox.entries()[0].id, "11"));
    assert.equal(page.socket.isClosed, false);
    await page.clock.pass(1);
    assert.equal(page.socket.isClosed, !answers);
  }
});

test("frames that keep arriving prove that the link lives", async () => {
  const page = await setUp().live();
  await page.clock.pass(25_000 + 9_000);
  await page.socket.answer(message("11"));
  await page.clock.pass(9_000);
  assert.deepEqual(page.take(), ["text 11"]);
});

test("a lost answer is not waited for though others keep arriving", async () => {
  const page = await setUp().live();
  page.connection.send({ content: "hello" });
  await settled();
  const { socket } = page;
  for (let seconds = 0; seconds < 30; seconds += 5) {
    assert.equal(socket.isClosed, false);
    await page.clock.pass(5_000);
    await socket.answer(message(`2${seconds}`));
  }
  assert.equal(socket.isClosed, true);
});

test("waking up pings at once", async () => {
  const page = await setUp().live();
  page.connection.wake();
  assert.equal(page.socket.take()[0].action, "ping");
});

test("waking up after a sleep of the machine does not trust the old link", async () => {
  const page = await setUp().live();
  page.clock.now += 3_600_000;
  page.connection.wake();
  await settled();
  assert.deepEqual(page.take(), ["waiting"]);
});

test("waking up ends a delay", async () => {
  const page = await setUp().live();
  await page.socket.end();
  page.connection.wake();
  await settled();
  assert.equal(page.sockets.length, 2);
});

test("older messages are asked for by page", async () => {
  const page = await setUp().live();
  const answer = page.connection.older({ before: "05" });
  const request = await page.history({ messages: [message("04")], cursor: "04", more: true });
  assert.deepEqual(request, { action: "history", id: request.id, limit: 100, before: "05" });
  assert.deepEqual([(await answer).more, page.take()], [true, ["text 04"]]);
  await page.socket.end();
  assert.equal(await page.connection.older({}), null);
});

test("who was erased starts afresh, in this tab and in the others", async () => {
  const page = await setUp().live();
  await page.socket.answer({ type: "identified", conversation: "d", recovered: false });
  assert.deepEqual(page.take(), ["reset"]);

  const other = await setUp().live();
  await other.socket.answer({ type: "conversation", conversation: "c", status: "erased", op: "forget" });
  await other.socket.end(4001);
  await other.clock.pass(999);
  assert.equal(other.sockets.length, 1); // the tab waits until the tab that asked for the erasure has the new token
  await other.clock.pass(1);
  await other.identify({ conversation: "d" });
  assert.equal((await other.history()).since, undefined);
  assert.deepEqual(other.take(), ["waiting 4001", "connecting", "reset", "newest", "live"]);
});

test("a page without a network tries nothing until it has one again", async () => {
  const page = await setUp().live();
  navigator.onLine = false;
  await page.socket.end();
  await page.clock.pass(3_600_000);
  assert.equal(page.sockets.length, 1);
  navigator.onLine = true;
  page.connection.wake();
  await settled();
  assert.equal(page.sockets.length, 2);
});

test("a page that goes to sleep ends its link, and waking up makes another", async () => {
  const page = await setUp().live();
  page.connection.sleep();
  await settled();
  assert.deepEqual([page.socket.isClosed, page.take()], [true, ["waiting"]]);
  page.connection.wake();
  await settled();
  assert.equal(page.sockets.length, 2);
});

test("a page can ask for anything, and is told of every frame that is no message", async () => {
  const page = await setUp().live();
  const answer = page.connection.request({ action: "read", upTo: "m01" });
  await settled();
  const [{ id, ...request }] = page.socket.take();
  assert.deepEqual(request, { action: "read", upTo: "m01" });
  const presence = { type: "presence", admins: 1 };
  await page.socket.answer(presence, ack(id, "01"));
  assert.deepEqual(await answer, ack(id, "01"));
  assert.deepEqual(page.others.slice(-2), [presence, ack(id, "01")]);
  await page.socket.end();
  assert.equal(await page.connection.request({ action: "read", upTo: "m01" }), null);
});

test("the rate limit's end is noted on the message that waits for it", async () => {
  const page = await setUp().live();
  page.connection.send({ content: "hello" });
  await settled();
  const [{ id }] = page.socket.take();
  await page.socket.answer(error(id, "rate_limited", { retryAfterMs: 3000 }));
  assert.equal(page.outbox.entries()[0].retryAt, page.clock.now + 3500);
});

test("the state says when the next try is", async () => {
  const page = await setUp().live();
  await page.socket.end();
  assert.equal(page.connection.state.retryAt, page.clock.now + 500);
});

test("a link that a limit refuses says which, on every try until it is live, and waits as long as the server asks", async () => {
  for (const [scope, close] of [
    ["address", 4029],
    ["connections", 4029],
    ["server", 4013],
  ]) {
    const page = setUp();
    await settled();
    await page.socket.open();
    await page.socket.answer(error(undefined, "rate_limited", { scope, retryAfterMs: 1000 }));
    await page.socket.end(close);
    const refused = { phase: "waiting", lastLive: undefined, code: close, scope, retryAt: page.clock.now + 1500 };
    assert.deepEqual(page.connection.state, refused);
    await page.clock.pass(1500);
    assert.deepEqual([page.connection.state.phase, page.connection.state.scope], ["connecting", scope]);
    await page.identify();
    const [history] = page.socket.take().filter(({ action }) => action === "history");
    await page.socket.answer({ type: "history", id: history.id, messages: [], cursor: "10", more: false });
    assert.deepEqual([page.connection.state.phase, page.connection.state.scope], ["live", undefined]);
  }
});

test("a limit that refuses the first frames says so too", async () => {
  const page = setUp();
  await settled();
  await page.socket.open();
  const [identify] = page.socket.take();
  await page.socket.answer(error(identify.id, "rate_limited", { scope: "address", retryAfterMs: 200 }));
  assert.equal(page.connection.state.scope, "address");
  await page.clock.pass(700);
  await page.identify();
  const [history] = page.socket.take();
  await page.socket.answer(error(history.id, "rate_limited", { scope: "address", retryAfterMs: 200 }));
  assert.deepEqual([page.connection.state.phase, page.connection.state.scope], ["waiting", "address"]);
});

test("a message says which limit it waits for", async () => {
  const page = await setUp().live();
  page.connection.send({ content: "hello" });
  await settled();
  const [{ id }] = page.socket.take();
  await page.socket.answer(error(id, "rate_limited", { scope: "conversations", retryAfterMs: 3000 }));
  assert.equal(page.outbox.entries()[0].scope, "conversations");
});

test("a pass is sent with the handshake, and only there", async () => {
  const page = setUp({ credentials: async () => ({ token: "token", pass: "a:b=" }) });
  await settled();
  assert.equal(page.socket.url, "ws://server/ws?pass=a%3Ab%3D");
  await page.socket.open();
  assert.equal(page.socket.take()[0].pass, undefined);
});
