/** A minimal document for modules that read the page when they are loaded. Import this file before them. */

const element = {
  textContent: JSON.stringify({ texts: { newFromOne: "{count} from {name}", newFromMany: "{count} from {people}" } }),
};
globalThis.document = { getElementById: () => element };
