/** A clock, a storage and a server that the test controls. */

import { Connection } from "../../../static/messaging/connection.js";
import { Outbox } from "../../../static/messaging/messages.js";

export class FakeClock {
  now = 1_000_000;
  #timers = new Map();
  #next = 1;

  setTimeout = (task, ms) => {
    this.#timers.set(this.#next, { at: this.now + ms, task });
    return this.#next++;
  };
  clearTimeout = (timer) => this.#timers.delete(timer);

  /** Make this the clock of all modules in the process, and return it. */
  install() {
    Object.assign(globalThis, { setTimeout: this.setTimeout, clearTimeout: this.clearTimeout });
    Date.now = () => this.now;
    return this;
  }

  /** Advance the clock by `ms`, running each timer at its time. */
  async pass(ms) {
    const end = this.now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      const [timer, { at, task }] = due;
      this.#timers.delete(timer);
      this.now = at;
      task();
      await settled();
    }
    this.now = end;
  }
}

/** Resolve when all pending promise callbacks have run. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

export class FakeStorage {
  #values = new Map();
  get length() {
    return this.#values.size;
  }
  key = (index) => [...this.#values.keys()][index];
  getItem = (key) => this.#values.get(key) ?? null;
  setItem = (key, value) => this.#values.set(key, value);
  removeItem = (key) => this.#values.delete(key);
}

/** One WebSocket as the browser sees it; `open`, `answer` and `end` are the server's side. */
class FakeSocket {
  sent = [];
  isClosed = false;

  constructor(url) {
    this.url = url;
    FakeSocket.made(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.isClosed = true;
  }
  /** Return the frames that the page has sent since the last call. */
  take() {
    return this.sent.splice(0);
  }
  async open() {
    this.onopen();
    await settled();
  }
  async answer(...frames) {
    for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
    await settled();
  }
  async end(code = 1006, reason = "") {
    this.onclose?.({ code, reason });
    await settled();
  }
}

/** Return a connection to a server that the test plays, with a record of the events that its page received. */
export function setUp({ random = () => 1, storage = new FakeStorage(), credentials, ...options } = {}) {
  const clock = new FakeClock().install();
  const told = [];
  const others = [];
  const sockets = [];
  FakeSocket.made = (socket) => sockets.push(socket);
  const outbox = new Outbox("outbox", storage);
  Math.random = random;
  globalThis.WebSocket = FakeSocket;
  Object.defineProperty(globalThis, "navigator", { value: { onLine: true }, configurable: true });
  const connection = new Connection({
    url: "ws://server/ws",
    heartbeatMs: 25_000,
    role: "user",
    credentials: credentials ?? (async () => ({ token: "token" })),
    forgetCredentials: () => told.push("forget credentials"),
    outbox,
    inTurn: (task) => task(),
    handlers: {
      state: ({ phase, code }) => told.push(code && phase !== "connecting" ? `${phase} ${code}` : phase),
      messages: (messages) => told.push(...messages.map((message) => message.content)),
      reset: () => told.push("reset"),
      newest: (more) => told.push(more ? "newest, more" : "newest"),
      identified: () => {},
      frame: (frame) => others.push(frame),
    },
    ...options,
  });
  const page = {
    clock,
    others,
    connection,
    outbox,
    storage,
    sockets,
    /** Return the events that the page has received since the last call. */
    take: () => told.splice(0),
    get socket() {
      return sockets.at(-1);
    },
    /** Open the newest socket and answer its identify; the test answers the catch-up. */
    async identify(fields = {}) {
      await settled();
      await page.socket.open();
      const [{ id }] = page.socket.take();
      await page.socket.answer({ type: "identified", id, conversation: "c", recovered: true, ...fields });
    },
    /** Bring the page to `live`, with an empty history that ends at cursor 10, and return it. */
    async live(fields = {}) {
      await page.identify(fields);
      await page.history();
      page.take();
      return page;
    },
    /** Answer the history request among the frames just sent, and return that request. */
    async history({ messages = [], cursor = "10", more = false } = {}) {
      const request = page.socket.take().find((frame) => frame.action === "history");
      await page.socket.answer({ type: "history", id: request.id, messages, cursor, more });
      return request;
    },
  };
  connection.run();
  return page;
}

export function message(cursor, fields = {}) {
  const common = { type: "message", timestamp: "2026-01-01T00:00:00.000Z", from: "admin", conversation: "c" };
  return { ...common, messageId: `m${cursor}`, content: `text ${cursor}`, cursor, ...fields };
}

export const ack = (id, cursor) => ({
  type: "ack",
  id,
  messageId: `m${cursor}`,
  cursor,
  timestamp: "t",
  duplicate: false,
});
export const error = (id, code, fields = {}) => ({ type: "error", id, code, message: `because ${code}`, ...fields });
