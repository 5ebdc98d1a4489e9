/** Enough of a page for modules that look at theirs when they are loaded. To be imported before them. */

const element = { textContent: JSON.stringify({ texts: { newFromOne: "{count} from {name}", newFromMany: "{count} from {people}" } }) };
globalThis.document = { getElementById: () => element };
