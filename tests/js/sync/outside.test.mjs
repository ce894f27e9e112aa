// Changes that no client made: writes through REST, and what time ends.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { World, subscribed } from "../lib/clients.mjs";
import { unusedName } from "../lib/environment.mjs";
import { refused } from "../lib/refusals.mjs";
import { Mirror, assertSameDocument, assertSameItems } from "../lib/state.mjs";
import { brief, collect, until } from "../lib/waiting.mjs";

const ITEM_EVENTS = ["itemAdded", "itemUpdated", "itemRemoved"];

const world = await World.open();
const clients = [await world.connect("alice"), await world.connect("bob")];
after(() => world.close());

/** An object open and subscribed at both clients. */
async function shared(kind, options = {}) {
  const id = unusedName(kind);
  const objects = await Promise.all(clients.map((client) => client[kind]({ id, ...options })));
  await subscribed(...objects);
  return objects;
}

describe("REST", () => {
  test("updates of a document reach the clients", async () => {
    const documents = await shared("document");
    const events = documents.map((document) => collect(document, "updated"));
    const rest = world.rest.documents(documents[0].sid);
    for (const n of [1, 2, 3]) {
      await rest.update({ data: { n } });
    }
    await rest.update({ data: { n: 4 }, ifMatch: "3" });
    await until(() => events.every(({ length }) => length === 4));
    for (const told of events) {
      assert.deepEqual(
        told,
        [1, 2, 3, 4].map((n) => ({
          name: "updated",
          isLocal: false,
          data: { n },
          previousData: n === 1 ? {} : { n: n - 1 },
        })),
      );
    }
    await assertSameDocument(world.rest, ...documents);
  });

  test("changes of list items reach the clients", async () => {
    const lists = await shared("list");
    const mirrors = lists.map((list) => new Mirror(list));
    const events = collect(lists[0], ...ITEM_EVENTS);
    const items = world.rest.syncLists(lists[0].sid).syncListItems;
    await items.create({ data: { n: 0 } });
    await items.create({ data: { n: 1 } });
    await items(0).update({ data: { n: "zero" } });
    await items(1).remove();
    await items.create({ data: { n: 2 } });
    await until(() => events.length === 5);
    assert.deepEqual(brief(events), [
      { name: "itemAdded", isLocal: false, item: { index: 0, data: { n: 0 } } },
      { name: "itemAdded", isLocal: false, item: { index: 1, data: { n: 1 } } },
      {
        name: "itemUpdated",
        isLocal: false,
        item: { index: 0, data: { n: "zero" } },
        previousItemData: { n: 0 },
      },
      { name: "itemRemoved", isLocal: false, index: 1, previousItemData: { n: 1 } },
      { name: "itemAdded", isLocal: false, item: { index: 2, data: { n: 2 } } },
    ]);
    await assertSameItems(world.rest, lists, mirrors);
  });

  test("changes of map items reach the clients", async () => {
    const maps = await shared("map");
    const mirrors = maps.map((map) => new Mirror(map));
    const events = collect(maps[0], ...ITEM_EVENTS);
    const items = world.rest.syncMaps(maps[0].sid).syncMapItems;
    await items.create({ key: "a", data: { n: 1 } });
    await items("a").update({ data: { n: 2 } });
    await items("a").remove();
    await items.create({ key: "a", data: { n: 3 } });
    await until(() => events.length === 4);
    assert.deepEqual(brief(events), [
      { name: "itemAdded", isLocal: false, item: { key: "a", data: { n: 1 } } },
      {
        name: "itemUpdated",
        isLocal: false,
        item: { key: "a", data: { n: 2 } },
        previousItemData: { n: 1 },
      },
      { name: "itemRemoved", isLocal: false, key: "a", previousItemData: { n: 2 } },
      { name: "itemAdded", isLocal: false, item: { key: "a", data: { n: 3 } } },
    ]);
    await assertSameItems(world.rest, maps, mirrors);
  });

  for (const [kind, rest] of [
    ["document", "documents"],
    ["list", "syncLists"],
    ["map", "syncMaps"],
    ["stream", "syncStreams"],
  ]) {
    test(`the removal of a ${kind} reaches the clients, once`, async () => {
      const objects = await shared(kind);
      const events = objects.map((object) => collect(object, "removed"));
      await world.rest[rest](objects[0].sid).remove();
      await until(() => events.every(({ length }) => length === 1));
      assert.ok(events.every(([{ isLocal }]) => !isLocal));
      await refused(
        clients[0][kind]({ id: objects[0].uniqueName, mode: "open_existing" }),
        404,
        54300,
      );
      assert.ok(events.every(({ length }) => length === 1));
    });
  }

  test("writes between the clients' own are in one order for all", async () => {
    const maps = await shared("map");
    const mirrors = maps.map((map) => new Mirror(map));
    const items = world.rest.syncMaps(maps[0].sid).syncMapItems;
    await items.create({ key: "k", data: { n: 0 } });
    await Promise.all(
      Array.from({ length: 30 }, async (_, n) => {
        await items("k").update({ data: { from: "rest", n } });
        await maps[n % 2].set("k", { from: "sdk", n });
        await maps[n % 2].set(`k${n}`, { n });
      }),
    );
    await assertSameItems(world.rest, maps, mirrors);
  });
});

// Each of these waits for a second or two, so they wait together.
describe("what expires is removed at the clients", { concurrency: true }, () => {
  const PATIENCE_MS = 8000;

  for (const [kind, options] of [
    ["document", { data: { last: "words" } }],
    ["list", {}],
    ["map", {}],
    ["stream", {}],
  ]) {
    test(`a ${kind}`, async () => {
      const objects = await shared(kind, options);
      const events = objects.map((object) => collect(object, "removed"));
      const started = Date.now();
      await objects[0].setTtl(2);
      await until(() => events.every(({ length }) => length > 0), () => "not removed", PATIENCE_MS);
      assert.ok(Date.now() - started > 1500, "too early");
      for (const told of events) {
        const previous = kind === "document" ? { previousData: { last: "words" } } : {};
        assert.deepEqual(told, [{ name: "removed", isLocal: false, ...previous }]);
      }
    });
  }

  test("a list item", async () => {
    const lists = await shared("list");
    const mirrors = lists.map((list) => new Mirror(list));
    const events = lists.map((list) => collect(list, "itemAdded", "itemRemoved"));
    await lists[0].push({ stays: true });
    await lists[0].push({ stays: false }, { ttl: 1 });
    const isOver = () => events.every(({ length }) => length === 3);
    await until(isOver, () => "still there", PATIENCE_MS);
    for (const told of events) {
      assert.deepEqual(
        told.map(({ name, index, item }) => [name, index ?? item.index]),
        [["itemAdded", 0], ["itemAdded", 1], ["itemRemoved", 1]],
      );
    }
    await assertSameItems(world.rest, lists, mirrors);
    // The SDK's answer for an item whose removal it saw.
    assert.equal(await lists[1].get(1), null);
  });

  test("a map item", async () => {
    const maps = await shared("map");
    const mirrors = maps.map((map) => new Mirror(map));
    const events = collect(maps[1], "itemRemoved");
    await maps[0].set("stays", {});
    await maps[0].set("goes", { n: 1 });
    await maps[0].setItemTtl("goes", 1);
    await until(() => events.length === 1, () => "still there", PATIENCE_MS);
    assert.deepEqual(events, [
      { name: "itemRemoved", key: "goes", isLocal: false, previousItemData: { n: 1 } },
    ]);
    await assertSameItems(world.rest, maps, mirrors);
    await refused(maps[1].get("goes"), 404, 54201);
  });
});
