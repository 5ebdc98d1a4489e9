// @ts-check
/** The parts of the browser that both pages use: configuration, texts, storage, tabs, the events that wake the link. */

import { Connection } from "./connection.js";
import { Outbox } from "./messages.js";

/** How long a tab waits for its turn. A suspended tab may hold the turn for ever. */
const TURN_MS = 5_000;

/** @type {{webSocketUrl: string, heartbeatMs: number, language: string, texts: Record<string, string>, [key: string]: any}} */
export const configuration = JSON.parse(byId("messaging-config").textContent);

/** The browser's storage, or null if it is forbidden. @type {Storage | null} */
export const storage = (() => {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
})();

/** @param {string} id @returns {any} */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Return a text in the page's language (messaging/pages/configuration.py), with each `{name}` replaced by its value.
 * For a `count` of one, use the key with "One" appended if there is such a text.
 *
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function text(key, values = {}) {
  const { texts } = configuration;
  const words = texts[values.count === 1 ? `${key}One` : key] ?? texts[key];
  return words.replace(/{(\w+)}/g, (_, name) => /** @type {any} */ (values[name]));
}

/**
 * Return a connection with its outbox, for the life of the page. The caller starts it.
 *
 * @param {string} name  of the outbox
 * @param {Omit<import("./connection.js").Options, "url" | "heartbeatMs" | "outbox" | "inTurn">} options
 * @param {() => void} onOutbox  called after the outbox has changed
 */
export function connect(name, options, onOutbox) {
  const outbox = new Outbox(name, storage);
  const { webSocketUrl: url, heartbeatMs } = configuration;
  const connection = new Connection({ ...options, url, heartbeatMs, outbox, inTurn: (task) => inTurn(name, task) });
  const wake = () => connection.wake();
  outbox.onChange = onOutbox;
  addEventListener("storage", (event) => outbox.onStorage(event));
  addEventListener("online", wake);
  addEventListener("offline", wake); // tests whether the link lives
  addEventListener("pagehide", () => connection.sleep()); // browsers do not keep a page with an open socket
  addEventListener("pageshow", (event) => event.persisted && wake());
  document.addEventListener("visibilitychange", () => document.hidden || wake());
  return { connection, outbox };
}

/**
 * Wait until no other tab has the turn of this name. Only secure contexts have locks; elsewhere the server's answer to
 * a duplicate has to suffice.
 *
 * @param {string} name
 * @returns {Promise<() => void>} ends the turn
 */
export async function turn(name) {
  let end = () => {};
  if (navigator.locks) {
    await new Promise((begin) => {
      const held = () =>
        new Promise((/** @type {(value?: any) => void} */ resolve) => {
          end = resolve;
          begin(undefined);
        });
      navigator.locks.request(name, { signal: AbortSignal.timeout(TURN_MS) }, held).catch(begin);
    });
  }
  return end;
}

/** @param {string} name @param {() => Promise<void>} task */
async function inTurn(name, task) {
  const end = await turn(name);
  await task().finally(end);
}

const time = new Intl.DateTimeFormat(configuration.language, { timeStyle: "short" });
const dayAndTime = new Intl.DateTimeFormat(configuration.language, { dateStyle: "medium", timeStyle: "short" });

/** @param {string | number} moment */
export function clockTime(moment) {
  const date = new Date(moment);
  return (date.toDateString() === new Date().toDateString() ? time : dayAndTime).format(date);
}

let shown = "";
/** @type {any} */
let due;

/**
 * Show the state of the link in words.
 *
 * @param {import("./connection.js").State["phase"]} phase
 * @param {string} words
 * @param {boolean} retry  show the button that tries now
 * @param {number} [after]  a state that lasts no longer than this number of milliseconds is not shown at all
 */
export function showStatus(phase, words, retry, after) {
  const state = [phase, words, retry].join();
  if (state === shown) return; // a screen reader must not read an unchanged text again
  shown = state;
  clearTimeout(due);
  const show = () => {
    byId("status").dataset.phase = phase;
    byId("status-text").textContent = words;
    byId("try-now").hidden = !retry;
  };
  if (after) due = setTimeout(show, after);
  else show();
}
