// @ts-check
/**
 * The recent number of each quick message, on the live page and on the stage.
 *
 * The server's count ends at a certain message; messages after that are counted here as they arrive.
 *
 * @typedef {import("./messages.js").Message} Message
 * @typedef {object} Count  the server's count of all messages up to `cursor`
 * @property {string} cursor
 * @property {number} now  the server's clock, in ms
 * @property {{quick: string, second: number, count: number}[]} counts  second: since 1970
 *
 * @typedef {{key: string, label: string, one: number, ten: number, bars: number[]}} Row
 *   one, ten: the numbers of the last one and ten minutes; bars: the parts of the ten minutes, oldest first
 */

import { byId, configuration } from "./page.js";
import { clone, reconcile, within } from "./view.js";

const SECOND = 1000;
const TEN = 600;
const MOST_ARRIVED = 5_000;
export const BARS = 30;
const RELOAD_MS = 30_000; // this counts messages that were committed out of order or lost on their way here
const TICK_MS = 1_000; // minutes pass even when nothing arrives
const HEIGHT = 10;

export class Tally {
  /** The counts by quick message, then by second. @type {Map<string, Map<number, number>>} */
  #counts = new Map();
  /** Messages that have arrived and may not be in the server's count yet. @type {Map<string, Message>} */
  #arrived = new Map();
  /** The cursor up to which the server has counted. */
  #cursor = "";
  /** The ms by which the server's clock is ahead of this machine's. */
  #ahead = 0;

  get isLoaded() {
    return this.#cursor > "";
  }

  /** @param {Count} count @param {number} now */
  load({ cursor, now: serverNow, counts }, now) {
    this.#ahead = serverNow - now;
    this.#cursor = cursor;
    this.#counts.clear();
    for (const { quick, second, count } of counts) this.#count(quick, second, count);
    for (const [id, message] of this.#arrived) {
      if (message.cursor > cursor) this.#countMessage(message);
      else this.#arrived.delete(id);
    }
  }

  /** @param {Message} message  any one: known and old messages are not counted again */
  add(message) {
    const { quick, from, messageId, cursor } = message;
    if (!quick || from !== "user" || cursor <= this.#cursor || this.#arrived.has(messageId)) return;
    this.#arrived.set(messageId, message);
    if (this.isLoaded) this.#countMessage(message);
    // While the tally is not shown, no count is loaded; the next one includes the messages that are dropped here.
    if (this.#arrived.size > MOST_ARRIVED) this.#arrived.delete(this.#arrived.keys().next().value ?? "");
  }

  /**
   * @param {{key: string, label: string}[]} quick  the ones on offer, which are shown even with a count of 0
   * @param {number} now
   * @returns {Row[]}
   */
  rows(quick, now) {
    const labels = new Map(quick.map(({ key, label }) => [key, label]));
    const end = Math.floor((now + this.#ahead) / SECOND);
    const keys = new Set([...labels.keys(), ...this.#counts.keys()]);
    return [...keys]
      .map((key) => this.#row(key, labels.get(key) ?? key, end))
      .filter(({ key, ten }) => ten || labels.has(key))
      .sort((a, b) => b.ten - a.ten);
  }

  /** @param {string} key @param {string} label @param {number} end @returns {Row} */
  #row(key, label, end) {
    const row = { key, label, one: 0, ten: 0, bars: Array(BARS).fill(0) };
    const counts = this.#counts.get(key) ?? new Map();
    for (const [second, count] of counts) {
      const age = Math.max(0, end - second); // clocks differ by a little
      if (age >= TEN) {
        counts.delete(second);
        continue;
      }
      row.ten += count;
      if (age < 60) row.one += count;
      row.bars[BARS - 1 - Math.floor((age * BARS) / TEN)] += count;
    }
    return row;
  }

  /** @param {Message} message */
  #countMessage({ quick, timestamp }) {
    this.#count(/** @type {string} */ (quick), Math.floor(Date.parse(timestamp) / SECOND), 1);
  }

  /** @param {string} quick @param {number} second @param {number} count */
  #count(quick, second, count) {
    let seconds = this.#counts.get(quick);
    if (!seconds) {
      seconds = new Map();
      this.#counts.set(quick, seconds);
    }
    seconds.set(second, (seconds.get(second) ?? 0) + count);
  }
}

/** The view of the tally, which is updated while it is in view. */
export class TallyBoard {
  /** @type {{key: string, label: string}[]} */
  #quick = [];
  #tally = new Tally();
  #isAsking = false;
  #loadedAt = -Infinity;

  /** @param {() => boolean} isLooking  whether the tally is in view */
  constructor(isLooking) {
    setInterval(() => isLooking() && !document.hidden && this.show(), TICK_MS);
  }

  /** @param {import("./messages.js").Message} message */
  add(message) {
    this.#tally.add(message);
  }

  /** Show the tally; load the count if it is old. @param {{key: string, label: string}[]} quick  the ones on offer */
  show(quick = this.#quick) {
    this.#quick = quick;
    if (performance.now() - this.#loadedAt > RELOAD_MS) this.load();
    const rows = this.#tally.isLoaded ? this.#tally.rows(quick, Date.now()) : [];
    const most = Math.max(1, ...rows.flatMap(({ bars }) => bars));
    reconcile(
      byId("tally-rows"),
      rows,
      ({ key }) => key,
      () => clone("tally-template"),
      (element, row) => {
        within(element, "label").textContent = row.label;
        within(element, "one").textContent = row.one;
        within(element, "ten").textContent = row.ten;
        within(element, "bars").setAttribute("d", plot(row.bars, most));
      },
    );
  }

  /** Load the server's count: the link is new, or the count is old. */
  async load() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      const response = await fetch(configuration.tallyUrl, { signal: AbortSignal.timeout(RELOAD_MS) });
      if (response.ok) this.#tally.load(await response.json(), Date.now());
    } catch {
      // No network: the status says so, and the count is loaded again after RELOAD_MS.
    }
    this.#loadedAt = performance.now();
    this.#isAsking = false;
  }
}

/** @param {number[]} bars @param {number} most @returns {string} the path of one stroke per bar */
function plot(bars, most) {
  return bars.map((value, index) => `M${index + 0.5} ${HEIGHT}v${-Math.max((value / most) * HEIGHT, 0.3)}`).join("");
}
