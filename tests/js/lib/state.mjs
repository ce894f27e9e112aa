// What everybody should agree on in the end: the state as REST, SDK objects and events show it.

import assert from "node:assert/strict";
import { until } from "./waiting.mjs";

/** A collection's items through REST, as `{index or key: data}` in order. */
export async function restItems(collection) {
  const isMap = "syncMapItems" in collection;
  const items = await (isMap ? collection.syncMapItems : collection.syncListItems).list({
    order: "asc",
    pageSize: 100,
  });
  return Object.fromEntries(items.map((item) => [isMap ? item.key : item.index, item.data]));
}

/** All items by walking the SDK's pages, from its cache where it trusts that. */
export async function sdkItems(collection, options = { pageSize: 100 }) {
  const found = [];
  let page = await collection.getItems(options);
  for (;;) {
    found.push(...page.items.map((item) => [item.key ?? item.index, item.data]));
    if (!page.hasNextPage) {
      return Object.fromEntries(found);
    }
    page = await page.nextPage();
  }
}

/**
 * A list's or map's content as its events tell it, beginning with an empty one.
 *
 * `faults` collects what contradicts what was told before: an item added twice, a removal of what
 * is not there, an event id that does not rise.
 */
export class Mirror {
  faults = [];
  /** Ids of the events of items that others made, in the order of arrival. */
  eventIds = [];
  #items = new Map();
  #replays;

  /**
   * @param {boolean} [options.replays] the connection may be lost: a catch-up then tells the removal
   *   of items that came and went meanwhile
   */
  constructor(collection, { replays = false } = {}) {
    this.#replays = replays;
    collection.on("itemAdded", ({ item, isLocal }) => this.#put("added", item, isLocal));
    collection.on("itemUpdated", ({ item, isLocal }) => this.#put("updated", item, isLocal));
    collection.on("itemRemoved", ({ index, key }) => this.#remove(String(key ?? index)));
  }

  get items() {
    return Object.fromEntries(this.#items);
  }

  get size() {
    return this.#items.size;
  }

  #put(verb, item, isLocal) {
    const name = String(item.key ?? item.index);
    if ((verb === "added") === this.#items.has(name)) {
      this.faults.push(`${name} ${verb}, which was ${this.#items.has(name) ? "" : "not "}there`);
    }
    if (!isLocal) {
      const last = this.eventIds.at(-1) ?? -1;
      if (item.lastEventId <= last) {
        this.faults.push(`event ${item.lastEventId} of ${name} came after ${last}`);
      }
      this.eventIds.push(item.lastEventId);
    }
    this.#items.set(name, structuredClone(item.data));
  }

  #remove(name) {
    if (!this.#items.delete(name) && !this.#replays) {
      this.faults.push(`${name} removed, which was not there`);
    }
  }
}

/** Waits until all documents show what REST shows, which must not change meanwhile. */
export async function assertSameDocument(service, ...documents) {
  const { data, revision } = await service.documents(documents[0].sid).fetch();
  for (const document of documents) {
    await until(
      () => document.revision === revision,
      () => `revision ${document.revision} instead of ${revision}`,
    );
    assert.deepEqual(document.data, data);
  }
}

/** Waits until REST, all SDK objects and all mirrors show the same items. */
export async function assertSameItems(service, collections, mirrors = []) {
  const [{ sid }] = collections;
  const context = sid.startsWith("MP") ? service.syncMaps(sid) : service.syncLists(sid);
  const expected = await restItems(context);
  for (const mirror of mirrors) {
    await until(() => same(mirror.items, expected), () => difference(mirror.items, expected));
    assert.deepEqual(mirror.faults, []);
  }
  for (const collection of collections) {
    let seen;
    await until(
      async () => same((seen = await sdkItems(collection)), expected),
      () => difference(seen, expected),
    );
  }
}

function same(one, other) {
  try {
    assert.deepEqual(one, other);
    return true;
  } catch {
    return false;
  }
}

function difference(seen, expected) {
  const names = new Set([...Object.keys(seen), ...Object.keys(expected)]);
  const lines = [...names]
    .filter((name) => !same(seen[name], expected[name]))
    .map((name) => `${name}: ${JSON.stringify(seen[name])}, REST ${JSON.stringify(expected[name])}`);
  return `${lines.length} items differ: ${lines.slice(0, 5).join("; ")}`;
}
