// @ts-check
/** Names for people who gave none: easier to tell apart than ids, and the same on every screen. */

const COLOURS = "Amber Azure Blue Coral Golden Green Grey Indigo Ivory Lilac Mint Olive Red Silver Teal White".split(" ");
const ANIMALS = "Badger Bear Crane Deer Falcon Fox Hare Heron Lynx Otter Owl Raven Robin Seal Swan Wolf".split(" ");

/** @param {string} id  a UUID; its end is random in every version @returns {string} such as "Blue Otter 3f2a" */
export function visitorName(id) {
  const [colour, animal] = [...id.slice(-6, -4)].map((digit) => Number.parseInt(digit, 16) || 0);
  return `${COLOURS[colour]} ${ANIMALS[animal]} ${id.slice(-4)}`;
}
