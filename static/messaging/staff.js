// @ts-check
/**
 * What the pages of the staff have beside messages: who is signed in, what the state of the link is called, how a person
 * is told of news, and what can be switched on and off on this device.
 */

import { Refused } from "./connection.js";
import { FORBIDDEN, SILENCE_MS, UNAUTHORIZED } from "./link.js";
import { byId, clockTime, configuration, showStatus, storage, text } from "./page.js";

const RESTART = 4001;

/** Begins the names of what is stored: two staff members who share a browser do not share what they write. */
export const OWN = `messaging-live-${configuration.staff}`;

/** A token for one identify, for which the session answers. */
export async function credentials() {
  const { value } = /** @type {any} */ (document.querySelector("[name=csrfmiddlewaretoken]"));
  const headers = { "X-CSRFToken": value };
  // On a dead network, nothing else would ever end it.
  const response = await fetch(configuration.tokenUrl, { method: "POST", headers, signal: AbortSignal.timeout(SILENCE_MS) });
  if (response.status === 403) throw new Refused();
  const { token } = await response.json();
  return { token, lang: configuration.language };
}

/** @param {import("./connection.js").State} state */
export function showLink({ phase, code, lastLive }) {
  const isSignedOut = phase === "stopped" && code === UNAUTHORIZED;
  const words = [];
  if (phase === "live") words.push(text("live"));
  else words.push(lastLive ? text("notLiveSince", { time: clockTime(lastLive) }) : text("notLiveYet"));
  if (isSignedOut) words.push(text("signedOut"));
  else if (phase === "stopped") words.push(text(code === FORBIDDEN ? "forbidden" : "reload"));
  else if (phase !== "live") words.push(text(!navigator.onLine ? "offline" : code === RESTART ? "draining" : "connecting"));
  showStatus(phase, words.join(" "), { retry: phase === "waiting" || (phase === "stopped" && !isSignedOut) });
  const signIn = byId("sign-in");
  signIn.hidden = !isSignedOut;
  signIn.href = configuration.loginUrl + encodeURIComponent(location.hash); // back to the open conversation
}

/** How many people are here, as long as anybody knows. @param {{admins: number, users?: number}} [presence] */
export function showPresence(presence) {
  if (!presence) return;
  const { admins, users = 0 } = presence;
  byId("presence").textContent = `${counted("admins", admins)}, ${counted("visitors", users)}`;
}

/** A text with a number in it. @param {string} key  that of more than one @param {number} count @param {Record<string, string>} [values] */
export function counted(key, count, values) {
  return text(count === 1 ? `${key}One` : key, { count, ...values });
}

/** @typedef {{name: string, content: string}} Arrival  who wrote what */

/** A screen reader needs so long to say something; told more often, a flood would never be heard to its end. */
export const PACE_MS = 5_000;

/** Collects what arrives and tells it in summary: at once after a silence, else once in PACE_MS. */
export class Summary {
  /** @type {Arrival[]} */
  #waiting = [];
  /** @type {any} */
  #timer = null;
  #tell;
  #environment;

  /**
   * @param {(arrivals: Arrival[]) => void} tell
   * @param {Pick<import("./link.js").Environment, "setTimeout">} environment
   */
  constructor(tell, environment) {
    this.#tell = tell;
    this.#environment = environment;
  }

  /** @param {Arrival} arrival */
  add(arrival) {
    this.#waiting.push(arrival);
    // Not at this moment: what comes together is told together.
    this.#timer ??= this.#environment.setTimeout(() => this.#next(), 0);
  }

  #next() {
    this.#timer = this.#waiting.length ? this.#environment.setTimeout(() => this.#next(), PACE_MS) : null;
    if (this.#waiting.length) this.#tell(this.#waiting.splice(0));
  }
}

/** @param {Arrival[]} arrivals */
export function inWords(arrivals) {
  const [{ name, content }] = arrivals;
  if (arrivals.length === 1) return `${name}: ${content}`;
  const people = new Set(arrivals.map((arrival) => arrival.name)).size;
  return text(people === 1 ? "newFromOne" : "newFromMany", { count: arrivals.length, people, name });
}

/** @param {number} unread */
export function showUnread(unread) {
  document.title = document.title.replace(/^(\(\d+\) )?/, unread ? `(${unread}) ` : "");
}

/**
 * @typedef {"next" | "previous" | "reply" | "claim" | "close" | "block" | "search" | "help" | "back"} Command
 * @typedef {Pick<KeyboardEvent, "key" | "altKey" | "ctrlKey" | "metaKey" | "isComposing" | "defaultPrevented">} Press
 */

/** @type {Record<string, Command>} */
const COMMANDS = {
  j: "next",
  k: "previous",
  r: "reply",
  c: "claim",
  e: "close",
  b: "block",
  "/": "search",
  "?": "help",
};

/** The checkboxes of the dialog say what there is. */
export class Settings {
  /** @type {Record<string, boolean>} */
  #on;

  /** @param {string} key  of the storage @param {(name: string, isOn: boolean) => void} onChange */
  constructor(key, onChange) {
    this.#on = JSON.parse(storage?.getItem(key) ?? "{}");
    for (const box of this.#boxes()) {
      this.#on[box.name] ??= box.checked;
      box.checked = this.#on[box.name];
      box.addEventListener("change", () => {
        this.#on[box.name] = box.checked;
        storage?.setItem(key, JSON.stringify(this.#on));
        onChange(box.name, box.checked);
      });
    }
  }

  /** @param {string} name */
  isOn(name) {
    return this.#on[name];
  }

  /** What the browser has refused. @param {string} name */
  switchOff(name) {
    const box = this.#boxes().find((each) => each.name === name);
    if (box?.checked) box.click();
  }

  /** @returns {HTMLInputElement[]} */
  #boxes() {
    return [...byId("settings").querySelectorAll("[type=checkbox]")];
  }
}

/**
 * What a key press asks for; a number is that of a canned reply.
 *
 * @param {Press} press
 * @param {{writing: boolean, characters: boolean}} where  the person is in a field; keys that are characters count
 *   (who speaks to the computer can switch them off)
 * @returns {Command | number | undefined}
 */
export function commandOf(press, { writing, characters }) {
  if (press.defaultPrevented || press.isComposing || press.altKey || press.ctrlKey || press.metaKey) return;
  if (press.key === "Escape") return "back";
  if (writing || !characters) return;
  return /^[1-9]$/.test(press.key) ? Number(press.key) : COMMANDS[press.key];
}
