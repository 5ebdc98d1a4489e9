// @ts-check
/** Sound and notifications of new messages. */

import { text } from "./page.js";
import { inWords } from "./staff.js";

/** @typedef {import("./staff.js").Arrival} Arrival */

/** @type {AudioContext | undefined} */
let audio;

export function blip() {
  audio ??= new AudioContext();
  audio.resume(); // browsers suspend it until the person has used the page
  const start = audio.currentTime;
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  tone.frequency.value = 660;
  volume.gain.setValueAtTime(0.15, start);
  volume.gain.exponentialRampToValueAtTime(0.001, start + 0.3);
  tone.connect(volume).connect(audio.destination);
  tone.start(start);
  tone.stop(start + 0.3);
}

/** @param {Arrival[]} arrivals @param {boolean} withText  show the messages to anyone who sees the screen */
export function notify(arrivals, withText) {
  const body = withText ? inWords(arrivals) : "";
  const notification = new Notification(text("newMessages", { count: arrivals.length }), {
    body,
    tag: "messaging-live",
  });
  notification.onclick = () => window.focus();
}
