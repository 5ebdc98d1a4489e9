// @ts-check
/** What both pages take from the browser: configuration, texts, storage, tabs, the moments to look at the link again. */

import { Connection } from "./connection.js";
import { Outbox } from "./messages.js";

/** How long a tab waits for its turn. A tab that the system has put to sleep may hold the turn for ever. */
const TURN_MS = 5_000;

/** @type {{webSocketUrl: string, heartbeatMs: number, language: string, texts: Record<string, string>, [key: string]: any}} */
export const configuration = JSON.parse(byId("messaging-config").textContent);

/** The browser's storage, or null where it is forbidden. @type {Storage | null} */
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
 * A text in the page's language, with `{name}` replaced by its value (messaging/pages/configuration.py has them all). Of a `count` of
 * one, the text is that of the key with "One" behind it, where there is such a text.
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
 * A connection with its outbox, which lives as long as the page. The caller starts it.
 *
 * @param {string} name  of the outbox
 * @param {Omit<import("./connection.js").Options, "url" | "heartbeatMs" | "outbox" | "inTurn">} options
 * @param {() => void} onOutbox  the outbox has changed
 */
export function connect(name, options, onOutbox) {
  const outbox = new Outbox(name, storage);
  const { webSocketUrl: url, heartbeatMs } = configuration;
  const connection = new Connection({ ...options, url, heartbeatMs, outbox, inTurn: (task) => inTurn(name, task) });
  const wake = () => connection.wake();
  outbox.onChange = onOutbox;
  addEventListener("storage", (event) => outbox.onStorage(event));
  addEventListener("online", wake);
  addEventListener("offline", wake); // does the link live?
  addEventListener("pagehide", () => connection.sleep()); // with an open socket the browser would not keep the page
  addEventListener("pageshow", (event) => event.persisted && wake());
  document.addEventListener("visibilitychange", () => document.hidden || wake());
  return { connection, outbox };
}

/**
 * Wait until no other tab has the turn of this name. Only secure contexts can know; elsewhere the server's answer to
 * a duplicate has to do.
 *
 * @param {string} name
 * @returns {Promise<() => void>} ends the turn
 */
export async function turn(name) {
  let end = () => {};
  if (navigator.locks) {
    await new Promise((begin) => {
      const held = () => new Promise((/** @type {(value?: any) => void} */ resolve) => begin((end = resolve)));
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
 * The state of the link in words.
 *
 * @param {import("./connection.js").State["phase"]} phase
 * @param {string} words
 * @param {boolean} retry  a person can ask for a try now
 * @param {number} [after]  what lasts no longer than so many milliseconds is not shown at all
 */
export function showStatus(phase, words, retry, after) {
  const state = [phase, words, retry].join();
  if (state === shown) return; // an unchanged text is not to be read out again
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
