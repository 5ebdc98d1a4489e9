// @ts-check
/**
 * What the pages of the staff have beside messages: who is signed in, what the state of the link is called, how a person
 * is told of news, and what can be switched on and off on this device.
 */

import { CLOSES } from "./link.js";
import { byId, clockTime, configuration, showStatus, storage, text } from "./page.js";

const TOKEN_MS = 10_000;

/** Begins the names of what is stored: two staff members who share a browser do not share what they write. */
export const OWN = `messaging-live-${configuration.staff}`;

/** A token for one identify, for which the session answers; null: there is none, or one without the right. */
export async function credentials() {
  const { value } = /** @type {any} */ (document.querySelector("[name=csrfmiddlewaretoken]"));
  const headers = { "X-CSRFToken": value };
  // On a dead network, nothing else would ever end it.
  const response = await fetch(configuration.tokenUrl, { method: "POST", headers, signal: AbortSignal.timeout(TOKEN_MS) });
  if (response.status === 403) return null;
  const { token } = await response.json();
  return { token, lang: configuration.language };
}

/** @param {import("./connection.js").State} state */
export function showLink({ phase, code, lastLive }) {
  const isSignedOut = phase === "stopped" && code === CLOSES.unauthorized;
  const stopped = isSignedOut ? "signedOut" : code === CLOSES.forbidden ? "forbidden" : "reload";
  const trying = !navigator.onLine ? "offline" : code === CLOSES.restart ? "draining" : "connecting";
  const since = lastLive ? text("notLiveSince", { time: clockTime(lastLive) }) : text("notLiveYet");
  const words = phase === "live" ? text("live") : `${since} ${text(phase === "stopped" ? stopped : trying)}`;
  showStatus(phase, words, phase === "waiting" || (phase === "stopped" && !isSignedOut));
  const signIn = byId("sign-in");
  signIn.hidden = !isSignedOut;
  signIn.href = configuration.loginUrl + encodeURIComponent(location.hash); // back to the open conversation
}

/** How many people are here, as long as anybody knows. @param {{admins: number, users?: number}} [presence] */
export function showPresence(presence) {
  if (!presence) return;
  const { admins, users = 0 } = presence;
  byId("presence").textContent = `${text("admins", { count: admins })}, ${text("visitors", { count: users })}`;
}

/** @typedef {{name: string, content: string}} Arrival  who wrote what */

/** A screen reader needs so long to say something; told more often, a flood would never be heard to its end. */
export const PACE_MS = 5_000;

/**
 * Collects what arrives and tells it in summary: at once after a silence, else once in PACE_MS.
 *
 * @param {(arrivals: Arrival[]) => void} tell
 * @returns {(arrival: Arrival) => void} to be called with each
 */
export function summary(tell) {
  /** @type {Arrival[]} */
  const waiting = [];
  let isPaced = false;

  function next() {
    isPaced = waiting.length > 0;
    if (!isPaced) return;
    setTimeout(next, PACE_MS);
    tell(waiting.splice(0));
  }

  return (arrival) => {
    waiting.push(arrival);
    if (!isPaced) setTimeout(next, 0); // not at this moment: what comes together is told together
    isPaced = true;
  };
}

/** @param {Arrival[]} arrivals */
export function inWords(arrivals) {
  const [{ name, content }] = arrivals;
  if (arrivals.length === 1) return `${name}: ${content}`;
  const people = new Set(arrivals.map((arrival) => arrival.name)).size;
  return text(people === 1 ? "newFromOne" : "newFromMany", { count: arrivals.length, people, name });
}

/** In the title and beside the filter. @param {number} count @param {boolean} isLeast  there may be more, not loaded */
export function showUnread(count, isLeast) {
  const words = count ? `(${count}${isLeast ? "+" : ""}) ` : "";
  document.title = document.title.replace(/^(\(\d+\+?\) )?/, words);
  byId("unread").textContent = words;
}

/**
 * What is switched on on this device; the checkboxes of the dialog say what there is.
 *
 * @param {string} key  of the storage
 * @param {(box: HTMLInputElement) => void} onChange  may click the box: the browser refuses what it stands for
 * @returns {Record<string, boolean>} by name, always as it is now
 */
export function settings(key, onChange) {
  const on = JSON.parse(storage?.getItem(key) ?? "{}");
  for (const box of byId("settings").querySelectorAll("[type=checkbox]")) {
    box.checked = on[box.name] ??= box.checked;
    box.onchange = () => {
      on[box.name] = box.checked;
      storage?.setItem(key, JSON.stringify(on));
      onChange(box);
    };
  }
  return on;
}

/**
 * Whether a key press can be a command.
 *
 * @param {Pick<KeyboardEvent, "key" | "altKey" | "ctrlKey" | "metaKey" | "isComposing" | "defaultPrevented">} press
 * @param {boolean} characters  keys that are characters count: the person is in no field, and has not switched them off
 *   (as who speaks to the computer does)
 */
export function isCommand({ key, altKey, ctrlKey, metaKey, isComposing, defaultPrevented }, characters) {
  if (defaultPrevented || isComposing || altKey || ctrlKey || metaKey) return false;
  return characters || key === "Escape";
}
