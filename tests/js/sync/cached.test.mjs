// Objects that a page has from its session storage when it is loaded again. Node has no such
// storage: a plain one stands in. Real browsers are in tests/js/browser.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { World, subscribed } from "../lib/clients.mjs";
import { unusedName } from "../lib/environment.mjs";
import { sdkItems } from "../lib/state.mjs";
import { until, waitForEvent } from "../lib/waiting.mjs";

const cache = new Map();
globalThis.sessionStorage = {
  getItem: (key) => cache.get(key) ?? null,
  setItem: (key, value) => cache.set(key, String(value)),
  removeItem: (key) => cache.delete(key),
};

const world = await World.open();
after(() => world.close());

const collections = {
  list: (sid) => {
    const items = () => world.rest.syncLists(sid).syncListItems;
    return { add: () => items().create({ data: { n: 2 } }), place: 1 };
  },
  map: (sid) => {
    const items = () => world.rest.syncMaps(sid).syncMapItems;
    return { add: () => items().create({ key: "1", data: { n: 2 } }), place: "1" };
  },
};

for (const [kind, make] of Object.entries(collections)) {
  test(`a ${kind} misses nothing between its items and its subscription`, async () => {
    const name = unusedName(kind);
    const before = await world.connect("alice");
    const first = await before[kind](name);
    await subscribed(first);
    await (kind === "list" ? first.push({ n: 1 }) : first.set("0", { n: 1 }));
    await before.shutdown();
    const client = await world.connect("alice");
    const again = await client[kind](name);
    assert.equal(again.lastEventId, null, "it came from the cache");
    assert.deepEqual(await sdkItems(again), { 0: { n: 1 } });
    const told = waitForEvent(again, "itemAdded");
    const { add, place } = make(again.sid);
    await add();
    const { item, isLocal } = await told;
    assert.deepEqual([item.index ?? item.key, item.data, isLocal], [place, { n: 2 }, false]);
    await subscribed(again);
    assert.deepEqual(await sdkItems(again), { 0: { n: 1 }, 1: { n: 2 } });
  });
}

test("a document shows what it was, and then what happened since", async () => {
  const name = unusedName("document");
  const before = await world.connect("alice");
  const first = await before.document({ id: name, data: { n: 1 } });
  await before.shutdown();
  await world.rest.documents(first.sid).update({ data: { n: 2 } });
  const client = await world.connect("alice");
  const again = await client.document(name);
  assert.deepEqual(again.data, { n: 1 });
  await until(() => again.data.n === 2);
  assert.equal(again.lastEventId, 1);
});
