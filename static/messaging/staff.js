// @ts-check
/**
 * The parts of the staff's pages besides messages: the signed-in person, the texts for the state of the link, the
 * announcement of new messages, and the settings of this device.
 */

import { CLOSES } from "./link.js";
import { byId, clockTime, configuration, showStatus, storage, text } from "./page.js";

const TOKEN_MS = 10_000;

/** The prefix of storage keys: two staff members who share a browser do not share their drafts. */
export const OWN = `messaging-live-${configuration.staff}`;

/**
 * Return a token for one identify and a pass for the handshake before it, or null if this page's staff member is not
 * signed in, or has not the right.
 */
export async function credentials() {
  const { value } = /** @type {any} */ (document.querySelector("[name=csrfmiddlewaretoken]"));
  const headers = { "X-CSRFToken": value };
  // On a dead network, nothing else would ever end the request.
  const response = await fetch(configuration.tokenUrl, {
    method: "POST",
    headers,
    body: new URLSearchParams({ staff: String(configuration.staff) }),
    signal: AbortSignal.timeout(TOKEN_MS),
  });
  if (response.status === 403) return null;
  const { token, pass } = await response.json();
  return { token, pass, lang: configuration.language };
}

/** @param {import("./connection.js").State} state */
export function showLink({ phase, code, scope, lastLive }) {
  const isSignedOut = phase === "stopped" && code === CLOSES.unauthorized;
  const stopped = isSignedOut ? "signedOut" : code === CLOSES.forbidden ? "forbidden" : "reload";
  const trying = !navigator.onLine
    ? "offline"
    : code === CLOSES.restart
      ? "draining"
      : scope
        ? "crowded"
        : "connecting";
  const since = lastLive ? text("notLiveSince", { time: clockTime(lastLive) }) : text("notLiveYet");
  const words = phase === "live" ? text("live") : `${since} ${text(phase === "stopped" ? stopped : trying)}`;
  showStatus(phase, words, phase === "waiting" || (phase === "stopped" && !isSignedOut));
  const signIn = byId("sign-in");
  signIn.hidden = !isSignedOut;
  signIn.href = configuration.loginUrl + encodeURIComponent(location.hash); // back to the open conversation
}

/** Show how many people are connected, if that is known. @param {{admins: number, users?: number}} [presence] */
export function showPresence(presence) {
  if (!presence) return;
  const { admins, users = 0 } = presence;
  byId("presence").textContent = `${text("admins", { count: admins })}, ${text("visitors", { count: users })}`;
}

/** @typedef {{name: string, content: string}} Arrival  a new message, with the name of its visitor */

/** The time between two announcements. A screen reader needs it for each; else, in a flood, it would never finish. */
export const PACE_MS = 5_000;

/**
 * Collect new messages and announce them in summary: at once after a silence, else once per PACE_MS.
 *
 * @param {(arrivals: Arrival[]) => void} tell
 * @returns {(arrival: Arrival) => void} a function to call with each new message
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
    if (!isPaced) setTimeout(next, 0); // not immediately: messages that arrive together are announced together
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

/** Show it in the title and beside the filter. @param {number} count @param {boolean} isLeast  there may be more */
export function showUnread(count, isLeast) {
  const words = count ? `(${count}${isLeast ? "+" : ""}) ` : "";
  document.title = document.title.replace(/^(\(\d+\+?\) )?/, words);
  byId("unread").textContent = words;
}

/**
 * Return the settings of this device, which are the checkboxes of the dialog.
 *
 * @param {string} key  of the storage
 * @param {(box: HTMLInputElement) => void} onChange  may click the box again if the browser refuses the feature
 * @returns {Record<string, boolean>} the current values by name, kept up to date
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
 * Return whether a key press can be a command.
 *
 * @param {Pick<KeyboardEvent, "key" | "altKey" | "ctrlKey" | "metaKey" | "isComposing" | "defaultPrevented">} press
 * @param {boolean} characters  whether character keys count: the person is in no field, and has not switched them off
 *   (as people do who use speech input)
 */
export function isCommand({ key, altKey, ctrlKey, metaKey, isComposing, defaultPrevented }, characters) {
  if (defaultPrevented || isComposing || altKey || ctrlKey || metaKey) return false;
  return characters || key === "Escape";
}
