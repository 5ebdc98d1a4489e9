// @ts-check
/** The offer to block the address of a visitor as well. */

import { byId, configuration, text } from "./page.js";

/**
 * Offer to block the address of a conversation as well, once it is known how many others share it.
 *
 * @param {string} id  of the conversation
 * @param {() => boolean} isShown  whether it is still that conversation
 */
export async function offerAddress(id, isShown) {
  const response = await fetch(`${configuration.sharingUrl}?conversation=${id}`).catch(() => null);
  const { others } = response?.ok ? await response.json() : /** @type {any} */ ({});
  if (!isShown() || others === undefined || others === null) return;
  byId("sharing").textContent = text(others ? "sharing" : "sharingNone", { count: others });
  byId("block-address").hidden = false;
}
