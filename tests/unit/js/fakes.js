/** A clock, a storage and a server that a test moves by hand. */

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

  /** Makes it the clock of everything that is loaded here. */
  install() {
    Object.assign(globalThis, { setTimeout: this.setTimeout, clearTimeout: this.clearTimeout });
    Date.now = () => this.now;
    return this;
  }

  /** Let the time pass, timer by timer. */
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

/** Until every promise that can go on has gone on. */
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

/** One socket as the browser sees it; `answer` is the server's side. */
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
  /** The frames that arrived since the last look. */
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

/** A connection in front of a server that the test plays, and all that its page was told. */
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
      messages: (messages) => messages.forEach((message) => told.push(message.content)),
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
    /** What the page was told since the last look. */
    take: () => told.splice(0),
    get socket() {
      return sockets.at(-1);
    },
    /** Open the newest socket and answer its identify; the catch-up is the test's. */
    async identify(fields = {}) {
      await settled();
      await page.socket.open();
      const [{ id }] = page.socket.take();
      await page.socket.answer({ type: "identified", id, conversation: "c", recovered: true, ...fields });
    },
    /** Be live with an empty history that ends at cursor 10. */
    async live(fields = {}) {
      await page.identify(fields);
      await page.history();
      page.take();
      return page;
    },
    /** Answer the history request that is the next frame. */
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

export const ack = (id, cursor) => ({ type: "ack", id, messageId: `m${cursor}`, cursor, timestamp: "t", duplicate: false });
export const error = (id, code, fields = {}) => ({ type: "error", id, code, message: `because ${code}`, ...fields });
