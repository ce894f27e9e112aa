// Map: every method and event, between two identities.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { World, subscribed } from "../lib/clients.mjs";
import { unusedName } from "../lib/environment.mjs";
import { refused } from "../lib/refusals.mjs";
import { Mirror, assertSameItems, sdkItems } from "../lib/state.mjs";
import { brief, collect, until, waitForEvent } from "../lib/waiting.mjs";

const ITEM_EVENTS = ["itemAdded", "itemUpdated", "itemRemoved"];

const ODD_KEYS = [
  "a/b",
  "100%",
  "..",
  ".",
  "a+b",
  "a%2Fb",
  "%",
  "a b",
  " ",
  "?key=x&a=b#c",
  "\\",
  '"',
  "ключ",
  "😀",
  "\u2028",
  "__proto__",
  "constructor",
  "0",
  "x".repeat(320),
];

const world = await World.open();
const alice = await world.connect("alice");
const bob = await world.connect("bob");
after(() => world.close());

/** One map, open and subscribed at both clients. */
async function shared() {
  const id = unusedName("map");
  const [mine, theirs] = [await alice.map(id), await bob.map(id)];
  await subscribed(mine, theirs);
  return { mine, theirs };
}

test("set adds and then replaces, here and there", async () => {
  const { mine, theirs } = await shared();
  const [here, there] = [collect(mine, ...ITEM_EVENTS), collect(theirs, ...ITEM_EVENTS)];
  const item = await mine.set("k", { n: 1 });
  assert.deepEqual([item.key, item.data], ["k", { n: 1 }]);
  assert.ok(Math.abs(item.dateUpdated - Date.now()) < 5000);
  await until(() => there.length === 1);
  await theirs.set("k", { n: 2 });
  await until(() => here.length === 2);
  const expected = (own) => [
    { name: "itemAdded", isLocal: own, item: { key: "k", data: { n: 1 } } },
    {
      name: "itemUpdated",
      isLocal: !own,
      item: { key: "k", data: { n: 2 } },
      previousItemData: { n: 1 },
    },
  ];
  assert.deepEqual(brief(here), expected(true));
  assert.deepEqual(brief(there), expected(false));
  assert.deepEqual(
    here.map((event) => event.item),
    there.map((event) => event.item),
  );
  await assertSameItems(world.rest, [mine, theirs]);
});

test("mutate and update work on the present value, and create what is missing", async () => {
  const { mine, theirs } = await shared();
  const there = collect(theirs, ...ITEM_EVENTS);
  assert.deepEqual((await mine.mutate("k", (data) => ({ ...data, n: 1 }))).data, { n: 1 });
  await until(() => there.length === 1);
  assert.deepEqual((await theirs.mutate("k", ({ n }) => ({ n: n + 1 }))).data, { n: 2 });
  assert.deepEqual((await mine.update("k", { more: true })).data, { n: 2, more: true });
  assert.deepEqual((await mine.update("new", { n: 3 })).data, { n: 3 });
  await until(() => there.length === 4);
  assert.deepEqual(
    there.map(({ name, isLocal }) => [name, isLocal]),
    [["itemAdded", false], ["itemUpdated", true], ["itemUpdated", false], ["itemAdded", false]],
  );
  await assertSameItems(world.rest, [mine, theirs]);
});

test("concurrent mutate calls of an item lose nothing", async () => {
  const { mine, theirs } = await shared();
  await mine.set("k", { alice: 0, bob: 0 });
  let calls = 0;
  const raise = (map, who) =>
    map.mutate("k", (data) => {
      calls += 1;
      return { ...data, [who]: data[who] + 1 };
    });
  await Promise.all(
    Array.from({ length: 15 }, () => [raise(mine, "alice"), raise(theirs, "bob")]).flat(),
  );
  await assertSameItems(world.rest, [mine, theirs]);
  assert.deepEqual((await theirs.get("k")).data, { alice: 15, bob: 15 });
  assert.ok(calls > 30, `no conflict in ${calls} calls: nothing was tested`);
});

test("of clients that create an item at once one creates, the others change it", async () => {
  const { mine, theirs } = await shared();
  const mirrors = [new Mirror(mine), new Mirror(theirs)];
  const keys = Array.from({ length: 20 }, (_, n) => `k${n}`);
  const join = (map, key, who) =>
    map.mutate(key, (data) => ({ who: [...(data.who ?? []), who] }));
  await Promise.all(
    keys.flatMap((key) => [join(mine, key, "alice"), join(theirs, key, "bob")]),
  );
  await assertSameItems(world.rest, [mine, theirs], mirrors);
  for (const { who } of Object.values(mirrors[0].items)) {
    assert.deepEqual([...who].sort(), ["alice", "bob"]);
  }
});

test("remove takes the item away, here and there, until it is set again", async () => {
  const { mine, theirs } = await shared();
  await mine.set("k", { n: 1 });
  await until(async () => (await sdkItems(theirs)).k);
  const [here, there] = [collect(mine, ...ITEM_EVENTS), collect(theirs, ...ITEM_EVENTS)];
  await mine.remove("k");
  await until(() => there.length === 1);
  await refused(theirs.get("k"), 404, 54201);
  await theirs.set("k", { n: 2 });
  await until(() => here.length === 2);
  const expected = (own) => [
    { name: "itemRemoved", key: "k", isLocal: own, previousItemData: { n: 1 } },
    { name: "itemAdded", isLocal: !own, item: { key: "k", data: { n: 2 } } },
  ];
  assert.deepEqual(brief(here), expected(true));
  assert.deepEqual(brief(there), expected(false));
  await assertSameItems(world.rest, [mine, theirs]);
});

test("items that are not there are refused", async () => {
  const { mine } = await shared();
  await refused(mine.get("none"), 404, 54201);
  await refused(mine.remove("none"), 404, 54201);
  await refused(mine.setItemTtl("none", 60), 404, 54201);
});

test("keys that are none are refused", async () => {
  const { mine } = await shared();
  await refused(mine.set("x".repeat(321), {}), 400, 54209);
  mine.on("removed", () => assert.fail("a bad key does not remove the map"));
  await refused(mine.set("", {}), 400, 54209);
  await refused(mine.update("", {}), 400, 54209);
  assert.deepEqual(await sdkItems(mine), {});
  await mine.set("good", { n: 1 });
  assert.deepEqual((await mine.get("good")).data, { n: 1 });
});

for (const key of ODD_KEYS) {
  test(`the key ${JSON.stringify(key.slice(0, 20))} lives like any other`, async () => {
    const { mine, theirs } = await shared();
    const there = collect(theirs, ...ITEM_EVENTS);
    assert.equal((await mine.set(key, { n: 1 })).key, key);
    await until(() => there.length === 1);
    await theirs.mutate(key, ({ n }) => ({ n: n + 1 }));
    await theirs.setItemTtl(key, 600);
    const reader = await (await world.connect("reader")).map(mine.sid);
    assert.deepEqual((await reader.get(key)).data, { n: 2 });
    assert.equal((await reader.getItems({ from: key })).items[0].key, key);
    const listed = await world.rest.syncMaps(mine.sid).syncMapItems.list();
    assert.deepEqual(listed.map((item) => [item.key, item.data]), [[key, { n: 2 }]]);
    await reader.remove(key);
    await until(() => there.some(({ name }) => name === "itemRemoved"));
    // Whether a new time to live alone is told of as an update is left to the server.
    const told = there.map(({ name, key: removed, item }) => `${name} ${removed ?? item.key}`);
    assert.deepEqual(
      [...new Set(told)],
      ["itemAdded", "itemUpdated", "itemRemoved"].map((name) => `${name} ${key}`),
    );
    await refused(reader.get(key), 404, 54201);
    await reader.close();
  });
}

test("odd keys live side by side", async () => {
  const { mine, theirs } = await shared();
  const mirror = new Mirror(theirs);
  await Promise.all(ODD_KEYS.map((key) => mine.set(key, { key })));
  await until(() => mirror.size === ODD_KEYS.length);
  const reader = await (await world.connect("reader")).map(mine.sid);
  await assertSameItems(world.rest, [mine, theirs, reader], [mirror]);
  for (const [key, data] of Object.entries(mirror.items)) {
    assert.deepEqual(data, { key });
  }
});

test("items and maps get a time to live", async () => {
  const { mine, theirs } = await shared();
  const about = (when, seconds) => Math.abs(Date.parse(when) - Date.now() - seconds * 1000) < 10_000;
  const told = waitForEvent(theirs, "itemAdded");
  assert.ok(about((await mine.set("k", {}, { ttl: 300 })).dateExpires, 300));
  assert.ok(about((await told).item.dateExpires, 300));
  await mine.setItemTtl("k", 600);
  assert.ok(about((await mine.get("k")).dateExpires, 600));
  await mine.mutate("k", () => ({ n: 2 }), { ttl: 900 });
  assert.ok(about((await mine.get("k")).dateExpires, 900));
  await mine.update("k", { n: 3 }, { ttl: 0 });
  assert.equal((await mine.get("k")).dateExpires, null);
  assert.equal((await world.rest.syncMaps(mine.sid).syncMapItems("k").fetch()).dateExpires, null);

  await mine.setTtl(300);
  assert.ok(about(mine.dateExpires, 300));
  await mine.setTtl(0);
  assert.equal(mine.dateExpires, null);
  await refused(mine.setTtl(31_536_001), 400, 54011);
  await refused(mine.set("k", {}, { ttl: 31_536_001 }), 400, 54011);
});

test("an item that is too large is refused", async () => {
  const { mine, theirs } = await shared();
  await refused(mine.set("k", { t: "x".repeat(16 * 1024) }), 413, 54006);
  await refused(mine.mutate("k", () => ({ t: "x".repeat(16 * 1024) })), 413, 54006);
  await assertSameItems(world.rest, [mine, theirs]);
});

test("removeMap removes it for everybody, once", async () => {
  const { mine, theirs } = await shared();
  await mine.set("k", {});
  const [here, there] = [collect(mine, "removed"), collect(theirs, "removed")];
  await mine.removeMap();
  await until(() => there.length === 1);
  assert.deepEqual(here, [{ name: "removed", isLocal: true }]);
  assert.deepEqual(there, [{ name: "removed", isLocal: false }]);
  await refused(bob.map({ id: mine.sid, mode: "open_existing" }), 404, 54200);
  assert.equal(there.length, 1);
  // The SDK takes each 404 for one more sign of the removal.
  await assert.rejects(theirs.set("k", {}), { status: 404 });
});

test("a closed map hears nothing", async () => {
  const { mine, theirs } = await shared();
  const there = collect(theirs, ...ITEM_EVENTS);
  theirs.close();
  await mine.set("k", { n: 1 });
  const reopened = await bob.map(mine.sid);
  assert.deepEqual((await reopened.get("k")).data, { n: 1 });
  assert.deepEqual(there, []);
});

test("a map opened with its items shows them and follows them", async () => {
  const source = await alice.map();
  for (const n of [1, 2, 3]) {
    await source.set(`k${n}`, { n });
  }
  const map = await bob.map({ id: source.sid, includeItems: true });
  await subscribed(map);
  const told = waitForEvent(map, "itemUpdated");
  await source.set("k2", { n: "two" });
  assert.deepEqual((await told).item.data, { n: "two" });
  await assertSameItems(world.rest, [source, map]);
});

describe("getItems", () => {
  const COUNT = 34;
  const keys = Array.from({ length: COUNT }, (_, n) => `key-${String(n).padStart(2, "0")}`);
  let sid;

  const prepare = async () => {
    if (!sid) {
      const map = await alice.map();
      // Not in the order in which they will be listed.
      for (let n = 0; n < COUNT; n += 1) {
        await map.set(keys[(n * 13) % COUNT], { n });
      }
      ({ sid } = map);
    }
    // A client of its own: nothing comes from a cache that was filled before.
    return (await world.connect("reader")).map(sid);
  };
  const shown = ({ items }) => items.map(({ key }) => key);

  async function walk(page, step, more) {
    const pages = [shown(page)];
    while (page[more]) {
      page = await page[step]();
      pages.push(shown(page));
      assert.ok(pages.length <= COUNT, `it goes round in circles: ${pages.slice(0, 5).join(" | ")}`);
    }
    return { pages, last: page };
  }

  for (const order of ["asc", "desc"]) {
    const ordered = order === "asc" ? keys : [...keys].reverse();

    for (const pageSize of [1, 7, 10, 17, 34, 50]) {
      test(`walks ${order} in pages of ${pageSize}, to the end and back`, async () => {
        const map = await prepare();
        const first = await map.getItems({ order, pageSize });
        assert.equal(first.hasPrevPage, false);
        const there = await walk(first, "nextPage", "hasNextPage");
        assert.deepEqual(there.pages.flat(), ordered);
        assert.ok(there.pages.slice(0, -1).every(({ length }) => length === pageSize));
        const back = await walk(there.last, "prevPage", "hasPrevPage");
        assert.deepEqual([...back.pages].reverse().flat(), ordered);
      });
    }

    for (const from of ["key-00", "key-12", "key-12x", "key-33"]) {
      test(`begins ${order} from ${from}`, async () => {
        const map = await prepare();
        const page = await map.getItems({ order, from, pageSize: 10 });
        const expected = ordered.filter((key) => (order === "asc" ? key >= from : key <= from));
        const { pages } = await walk(page, "nextPage", "hasNextPage");
        assert.deepEqual(pages.flat(), expected);
      });
    }
  }

  test("shows data, and 50 items ascending unless told otherwise", async () => {
    const map = await prepare();
    const page = await map.getItems();
    assert.deepEqual(shown(page), keys);
    assert.deepEqual(page.items[0].data, { n: 0 });
    assert.equal(page.hasNextPage || page.hasPrevPage, false);
  });

  test("of an empty map is an empty page", async () => {
    const page = await (await alice.map()).getItems({ pageSize: 10 });
    assert.deepEqual([page.items, page.hasNextPage, page.hasPrevPage], [[], false, false]);
  });

  test("with a wrong page size is refused", async () => {
    const map = await prepare();
    await assert.rejects(async () => map.getItems({ pageSize: -1 }));
  });
});
