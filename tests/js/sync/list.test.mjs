// List: every method and event, between two identities.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { World, subscribed } from "../lib/clients.mjs";
import { unusedName } from "../lib/environment.mjs";
import { refused } from "../lib/refusals.mjs";
import { Mirror, assertSameItems, sdkItems } from "../lib/state.mjs";
import { brief, collect, until, waitForEvent } from "../lib/waiting.mjs";

const ITEM_EVENTS = ["itemAdded", "itemUpdated", "itemRemoved"];

const world = await World.open();
const alice = await world.connect("alice");
const bob = await world.connect("bob");
after(() => world.close());

/** One list, open and subscribed at both clients. */
async function shared() {
  const id = unusedName("list");
  const [mine, theirs] = [await alice.list(id), await bob.list(id)];
  await subscribed(mine, theirs);
  return { mine, theirs };
}

test("push appends, here and there", async () => {
  const { mine, theirs } = await shared();
  const [here, there] = [collect(mine, ...ITEM_EVENTS), collect(theirs, ...ITEM_EVENTS)];
  const item = await mine.push({ n: 0 });
  assert.deepEqual([item.index, item.data], [0, { n: 0 }]);
  assert.ok(Math.abs(item.dateUpdated - Date.now()) < 5000);
  await until(() => there.length === 1);
  assert.equal((await theirs.push({ n: 1 })).index, 1);
  await until(() => here.length === 2 && there.length === 2);
  const added = (index, isLocal) => ({
    name: "itemAdded",
    isLocal,
    item: { index, data: { n: index } },
  });
  assert.deepEqual(brief(here), [added(0, true), added(1, false)]);
  assert.deepEqual(brief(there), [added(0, false), added(1, true)]);
  // The originator's item and the one that others were told of are the same.
  assert.deepEqual(here[0].item, there[0].item);
  await assertSameItems(world.rest, [mine, theirs]);
});

test("items pushed at once by both get one index each, in one order for all", async () => {
  const { mine, theirs } = await shared();
  const { sid } = mine;
  const carol = await world.connect("carol").then((client) => client.list(sid));
  await subscribed(carol);
  const mirrors = [mine, theirs, carol].map((list) => new Mirror(list));
  const pushed = await Promise.all(
    Array.from({ length: 60 }, (_, n) => (n % 2 ? mine : theirs).push({ n })),
  );
  assert.deepEqual(
    pushed.map(({ index }) => index).sort((a, b) => a - b),
    Array.from({ length: 60 }, (_, n) => n),
  );
  await until(() => mirrors.every(({ size }) => size === 60));
  await assertSameItems(world.rest, [mine, theirs, carol], mirrors);
});

test("set, mutate and update change an item, here and there", async () => {
  const { mine, theirs } = await shared();
  await mine.push({ n: 0 });
  await until(() => sdkItems(theirs).then(({ 0: first }) => first));
  const [here, there] = [collect(mine, "itemUpdated"), collect(theirs, "itemUpdated")];

  assert.deepEqual((await mine.set(0, { n: 1 })).data, { n: 1 });
  await until(() => there.length === 1);
  const item = await theirs.mutate(0, ({ n }) => ({ n: n + 1, seen: true }));
  assert.deepEqual(item.data, { n: 2, seen: true });
  await until(() => here.length === 2);
  assert.deepEqual((await mine.update(0, { more: 1 })).data, { n: 2, seen: true, more: 1 });
  await until(() => there.length === 3);

  const updated = (data, previousItemData, isLocal) => ({
    name: "itemUpdated",
    isLocal,
    item: { index: 0, data },
    previousItemData,
  });
  const steps = [{ n: 0 }, { n: 1 }, { n: 2, seen: true }, { n: 2, seen: true, more: 1 }];
  const expected = (locals) => locals.map((own, i) => updated(steps[i + 1], steps[i], own));
  assert.deepEqual(brief(here), expected([true, false, true]));
  assert.deepEqual(brief(there), expected([false, true, false]));
  await assertSameItems(world.rest, [mine, theirs]);
});

test("concurrent mutate calls lose nothing", async () => {
  const { mine, theirs } = await shared();
  await mine.push({ alice: 0, bob: 0 });
  let calls = 0;
  const raise = (list, who) =>
    list.mutate(0, (data) => {
      calls += 1;
      return { ...data, [who]: data[who] + 1 };
    });
  await Promise.all(
    Array.from({ length: 15 }, () => [raise(mine, "alice"), raise(theirs, "bob")]).flat(),
  );
  await assertSameItems(world.rest, [mine, theirs]);
  assert.deepEqual((await mine.get(0)).data, { alice: 15, bob: 15 });
  assert.ok(calls > 30, `no conflict in ${calls} calls: nothing was tested`);
});

test("remove takes one item away, and its index never comes back", async () => {
  const { mine, theirs } = await shared();
  await mine.push({ n: 0 });
  await mine.push({ n: 1 });
  await until(() => sdkItems(theirs).then(({ 1: second }) => second));
  const [here, there] = [collect(mine, ...ITEM_EVENTS), collect(theirs, ...ITEM_EVENTS)];
  await mine.remove(1);
  await until(() => there.length === 1);
  const gone = { name: "itemRemoved", index: 1, previousItemData: { n: 1 } };
  assert.equal((await mine.push({ n: 2 })).index, 2);
  await until(() => there.length === 2);
  assert.deepEqual(brief(there), [
    { ...gone, isLocal: false },
    { name: "itemAdded", isLocal: false, item: { index: 2, data: { n: 2 } } },
  ]);
  assert.deepEqual(
    here.map(({ name, isLocal }) => [name, isLocal]),
    [["itemRemoved", true], ["itemAdded", true]],
  );
  assert.deepEqual(here[0], { ...gone, isLocal: true });
  await assertSameItems(world.rest, [mine, theirs]);
  // Who saw the removal gets null from the SDK; who did not is refused by the server.
  assert.deepEqual([await mine.get(1), await theirs.get(1)], [null, null]);
  const reader = await (await world.connect("reader")).list(mine.sid);
  await refused(reader.get(1), 404, 54151);
});

test("what is removed as soon as the list is open is told once", async () => {
  const { sid } = await world.rest.syncLists.create();
  for (let n = 0; n < 3; n += 1) {
    await world.rest.syncLists(sid).syncListItems.create({ data: { n } });
  }
  const mine = await alice.list(sid);
  const removals = collect(mine, "itemRemoved");
  for (const { index } of (await mine.getItems()).items) {
    await mine.remove(index);
  }
  await subscribed(mine);
  const told = (index) => {
    return { name: "itemRemoved", index, isLocal: true, previousItemData: { n: index } };
  };
  // What the subscription has to say has been said before it is confirmed.
  assert.deepEqual(removals, [0, 1, 2].map(told));
});

test("items that are not there are refused", async () => {
  const { mine, theirs } = await shared();
  await refused(mine.get(7), 404, 54151);
  await refused(mine.set(7, {}), 404, 54151);
  await refused(mine.mutate(7, () => ({})), 404, 54151);
  await refused(mine.remove(7), 404, 54151);
  await refused(mine.setItemTtl(7, 60), 404, 54151);
  assert.deepEqual(await sdkItems(theirs), {});
});

test("get reads items that were there before", async () => {
  const rest = await world.rest.syncLists.create();
  for (const n of [0, 1, 2]) {
    await world.rest.syncLists(rest.sid).syncListItems.create({ data: { n } });
  }
  const list = await bob.list(rest.sid);
  assert.deepEqual((await list.get(2)).data, { n: 2 });
  assert.deepEqual((await list.set(1, { n: "one" })).data, { n: "one" });
  assert.deepEqual(await sdkItems(list), { 0: { n: 0 }, 1: { n: "one" }, 2: { n: 2 } });
});

test("items and lists get a time to live", async () => {
  const { mine, theirs } = await shared();
  const about = (when, seconds) => Math.abs(Date.parse(when) - Date.now() - seconds * 1000) < 10_000;
  const told = waitForEvent(theirs, "itemAdded");
  const item = await mine.push({ n: 0 }, { ttl: 300 });
  assert.ok(about(item.dateExpires, 300), item.dateExpires);
  assert.ok(about((await told).item.dateExpires, 300));
  await mine.setItemTtl(0, 600);
  assert.ok(about((await mine.get(0)).dateExpires, 600));
  await mine.set(0, { n: 1 }, { ttl: 900 });
  assert.ok(about((await mine.get(0)).dateExpires, 900));
  await mine.mutate(0, () => ({ n: 2 }), { ttl: 0 });
  assert.equal((await mine.get(0)).dateExpires, null);
  const inRest = await world.rest.syncLists(mine.sid).syncListItems(0).fetch();
  assert.equal(inRest.dateExpires, null);

  await mine.setTtl(300);
  assert.ok(about(mine.dateExpires, 300));
  await mine.setTtl(0);
  assert.equal(mine.dateExpires, null);
  await refused(mine.setTtl(31_536_001), 400, 54011);
  await refused(mine.push({}, { ttl: 31_536_001 }), 400, 54011);
});

test("an item that is too large is refused", async () => {
  const { mine, theirs } = await shared();
  await refused(mine.push({ t: "x".repeat(16 * 1024) }), 413, 54006);
  await mine.push({ n: 0 });
  await refused(mine.set(0, { t: "x".repeat(16 * 1024) }), 413, 54006);
  await assertSameItems(world.rest, [mine, theirs]);
});

test("removeList removes it for everybody, once", async () => {
  const { mine, theirs } = await shared();
  await mine.push({ n: 0 });
  const [here, there] = [collect(mine, "removed"), collect(theirs, "removed")];
  await mine.removeList();
  await until(() => there.length === 1);
  assert.deepEqual(here, [{ name: "removed", isLocal: true }]);
  assert.deepEqual(there, [{ name: "removed", isLocal: false }]);
  await refused(bob.list({ id: mine.sid, mode: "open_existing" }), 404, 54150);
  await assert.rejects(theirs.push({ n: 1 }), { status: 404 });
  assert.equal(there.length, 1);
  // The SDK takes this 404 for one more sign of the removal.
  await assert.rejects(theirs.setTtl(5), { status: 404 });
});

test("a context is stored with the list", async () => {
  const mine = await alice.list({ id: unusedName(), purpose: "test", context: { topic: "x" } });
  assert.deepEqual(await mine.getContext(), { topic: "x" });
  const theirs = await bob.list(mine.sid);
  assert.deepEqual(await theirs.getContext(), { topic: "x" });
});

test("a closed list hears nothing", async () => {
  const { mine, theirs } = await shared();
  const there = collect(theirs, ...ITEM_EVENTS);
  theirs.close();
  await mine.push({ n: 0 });
  const reopened = await bob.list(mine.sid);
  assert.deepEqual((await reopened.get(0)).data, { n: 0 });
  assert.deepEqual(there, []);
});

describe("getItems", () => {
  const COUNT = 35;
  let sid;

  const prepare = async () => {
    if (!sid) {
      const list = await alice.list();
      for (let n = 0; n < COUNT; n += 1) {
        await list.push({ n });
      }
      // A gap in the middle of a page.
      await list.remove(12);
      ({ sid } = list);
    }
    // A client of its own: nothing comes from a cache that was filled before.
    return (await world.connect("reader")).list(sid);
  };
  const indexes = Array.from({ length: COUNT }, (_, n) => n).filter((n) => n !== 12);
  const shown = ({ items }) => items.map(({ index }) => index);

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
    const ordered = order === "asc" ? indexes : [...indexes].reverse();

    // Not 1: the SDK cannot go on from a page that ends with the index 0, which it takes for none.
    for (const pageSize of [2, 7, 10, 17, 34, 50, 100]) {
      test(`walks ${order} in pages of ${pageSize}, to the end and back`, async () => {
        const list = await prepare();
        const first = await list.getItems({ order, pageSize });
        assert.equal(first.hasPrevPage, false);
        const there = await walk(first, "nextPage", "hasNextPage");
        assert.deepEqual(there.pages.flat(), ordered);
        assert.ok(there.pages.slice(0, -1).every(({ length }) => length === pageSize));
        const back = await walk(there.last, "prevPage", "hasPrevPage");
        assert.deepEqual([...back.pages].reverse().flat(), ordered);
      });
    }

    for (const from of [0, 5, 12, 33, 34]) {
      test(`begins ${order} from ${from}`, async () => {
        const list = await prepare();
        const page = await list.getItems({ order, from, pageSize: 10 });
        const expected = ordered.filter((n) => (order === "asc" ? n >= from : n <= from));
        const { pages } = await walk(page, "nextPage", "hasNextPage");
        assert.deepEqual(pages.flat(), expected);
      });
    }
  }

  test("shows data, and 50 items ascending unless told otherwise", async () => {
    const list = await prepare();
    const page = await list.getItems();
    assert.deepEqual(shown(page), indexes);
    assert.deepEqual(page.items[3].data, { n: 3 });
    assert.equal(page.hasNextPage || page.hasPrevPage, false);
  });

  test("of an empty list is an empty page", async () => {
    const page = await (await alice.list()).getItems({ pageSize: 10 });
    assert.deepEqual([page.items, page.hasNextPage, page.hasPrevPage], [[], false, false]);
  });

  test("more than a hundred items come in one walk", async () => {
    const list = await alice.list();
    await Promise.all(Array.from({ length: 230 }, (_, n) => list.push({ n })));
    const reader = await (await world.connect("reader")).list(list.sid);
    assert.equal(Object.keys(await sdkItems(reader, { pageSize: 200 })).length, 230);
    await assertSameItems(world.rest, [list, reader]);
  });

  test("with a wrong page size is refused", async () => {
    const list = await prepare();
    await assert.rejects(async () => list.getItems({ pageSize: -1 }));
  });
});
