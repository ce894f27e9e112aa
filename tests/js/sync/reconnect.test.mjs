// Connections that are cut, slow, split and reordered: nothing is lost, repeated or out of order.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { runSeed, seeded } from "../lib/chance.mjs";
import { World, connected, subscribed, subscribedAgain } from "../lib/clients.mjs";
import { socketUrl, unusedName } from "../lib/environment.mjs";
import { Proxy } from "../lib/proxy.mjs";
import { Mirror, assertSameDocument, assertSameItems, restItems } from "../lib/state.mjs";
import { collect, pause, until, waitForEvent } from "../lib/waiting.mjs";

const world = await World.open();
/** Writes over a connection that nothing disturbs. */
const alice = await world.connect("alice");
after(() => world.close());

/** A client behind a proxy of its own, which is closed with the test. */
async function behindProxy(t, identity = "bob") {
  const proxy = await Proxy.listen(socketUrl, { seed: runSeed });
  const client = await world.connect(identity, { url: proxy.url });
  t.after(async () => {
    await client.shutdown();
    await proxy.close();
  });
  return { proxy, client };
}

/** Waits until the client has noticed that its connection is gone. */
const lost = (client) => until(() => client.connectionState !== "connected");

test("a subscriber whose connection is cut again and again misses nothing", async (t) => {
  const { proxy, client } = await behindProxy(t);
  const source = await alice.list(unusedName());
  const theirs = await client.list(source.sid);
  const counter = await alice.document({ id: unusedName(), data: { n: 0 } });
  const watched = await client.document(counter.sid);
  await subscribed(theirs, watched);
  const mirror = new Mirror(theirs);
  const indexes = collect(theirs, "itemAdded");
  const counts = collect(watched, "updated");

  for (let round = 0; round < 20; round += 1) {
    const writes = [];
    for (let n = 0; n < 10; n += 1) {
      writes.push(source.push({ round, n }), counter.mutate((data) => ({ n: data.n + 1 })));
      if (n === round % 10) {
        proxy.cut();
      }
    }
    await Promise.all(writes);
    await connected(client);
  }

  await assertSameItems(world.rest, [source, theirs], [mirror]);
  await assertSameDocument(world.rest, counter, watched);
  assert.ok(proxy.accepted > 10, `only ${proxy.accepted} connections`);
  // Every item was told of once and in order; of the document only newer and newer states.
  assert.deepEqual(
    indexes.map(({ item }) => item.index),
    Array.from({ length: 200 }, (_, n) => n),
  );
  const seen = counts.map(({ data }) => data.n);
  assert.deepEqual(seen, [...new Set(seen)].sort((a, b) => a - b));
  assert.equal(seen.at(-1), 200);
});

test("bytes that come in pieces make the same frames", async (t) => {
  const { proxy, client } = await behindProxy(t);
  proxy.pieceBytes = 400;
  const theirs = await client.list(unusedName());
  const mine = await alice.list(theirs.sid);
  await subscribed(mine, theirs);
  const mirrors = [new Mirror(mine), new Mirror(theirs)];
  const large = "ß😀".repeat(2000);
  await theirs.push({ large });
  await mine.push({ large });
  proxy.pieceBytes = 2;
  for (let n = 0; n < 5; n += 1) {
    await theirs.push({ n });
    await mine.push({ n });
  }
  await assertSameItems(world.rest, [mine, theirs], mirrors);
});

test("a slow connection delays, and reorders nothing", async (t) => {
  const { proxy, client } = await behindProxy(t);
  proxy.delayMs = 15;
  proxy.pieceBytes = 600;
  const theirs = await client.map(unusedName());
  const mine = await alice.map(theirs.sid);
  await subscribed(mine, theirs);
  const mirrors = [new Mirror(mine), new Mirror(theirs)];
  await Promise.all(
    Array.from({ length: 30 }, async (_, n) => {
      await mine.set(`a${n % 7}`, { n });
      await theirs.set(`a${n % 5}`, { n });
      if (n % 3 === 0) {
        await mine.set(`b${n}`, { n });
        await mine.remove(`b${n}`);
      }
    }),
  );
  await assertSameItems(world.rest, [mine, theirs], mirrors);
});

test("what was held back comes afterwards, all of it", async (t) => {
  const { proxy, client } = await behindProxy(t);
  const theirs = await client.list(unusedName());
  const mine = await alice.list(theirs.sid);
  await subscribed(theirs);
  const mirror = new Mirror(theirs);
  proxy.hold("down");
  for (let n = 0; n < 50; n += 1) {
    await mine.push({ n });
  }
  assert.equal(mirror.size, 0);
  proxy.release("down");
  await assertSameItems(world.rest, [mine, theirs], [mirror]);
});

describe("a change whose connection is cut", () => {
  test("before it arrived is not made", async (t) => {
    const { proxy, client } = await behindProxy(t);
    const list = await client.list(unusedName());
    await subscribed(list);
    proxy.hold("up");
    const push = list.push({ n: 0 });
    await pause(50);
    const rejected = assert.rejects(push, { status: 0 });
    proxy.cut();
    await rejected;
    proxy.release("up");
    await connected(client);
    assert.deepEqual(await restItems(world.rest.syncLists(list.sid)), {});
    assert.equal((await list.push({ n: 1 })).index, 0);
  });

  test("after it arrived is made, and told by the catch-up", async (t) => {
    const { proxy, client } = await behindProxy(t);
    const list = await client.list(unusedName());
    await subscribed(list);
    const told = waitForEvent(list, "itemAdded");
    proxy.hold("down");
    const push = list.push({ n: 0 });
    await until(async () => (await restItems(world.rest.syncLists(list.sid)))[0]);
    const rejected = assert.rejects(push, { status: 0 });
    proxy.cut();
    proxy.release("down");
    await rejected;
    const { item, isLocal } = await told;
    assert.deepEqual([item.index, item.data, isLocal], [0, { n: 0 }, false]);
    assert.equal((await list.push({ n: 1 })).index, 1);
  });

  test("but not yet sent is made when the connection is back", async (t) => {
    const { proxy, client } = await behindProxy(t);
    const document = await client.document(unusedName());
    proxy.refusing = true;
    proxy.cut();
    await lost(client);
    const set = document.set({ n: 1 });
    await pause(100);
    proxy.refusing = false;
    assert.deepEqual(await set, { n: 1 });
    assert.deepEqual((await world.rest.documents(document.sid).fetch()).data, { n: 1 });
  });
});

test("everything that happened meanwhile is told after the reconnect", async (t) => {
  const { proxy, client } = await behindProxy(t);
  const names = ["document", "list", "map", "gone"].map((stem) => unusedName(stem));
  const mine = {
    document: await alice.document({ id: names[0], data: { n: 0 } }),
    list: await alice.list(names[1]),
    map: await alice.map(names[2]),
    gone: await alice.map(names[3]),
  };
  for (const n of [0, 1, 2]) {
    await mine.list.push({ n });
    await mine.map.set(`k${n}`, { n });
  }
  const theirs = {
    document: await client.document(names[0]),
    list: await client.list(names[1]),
    map: await client.map(names[2]),
    gone: await client.map(names[3]),
  };
  // What is in the cache is told with its previous data.
  await Promise.all([theirs.list.getItems(), theirs.map.getItems()]);
  await subscribed(...Object.values(theirs));
  const events = {
    document: collect(theirs.document, "updated"),
    list: collect(theirs.list, "itemAdded", "itemUpdated", "itemRemoved"),
    map: collect(theirs.map, "itemAdded", "itemUpdated", "itemRemoved"),
    gone: collect(theirs.gone, "removed"),
  };

  proxy.refusing = true;
  proxy.cut();
  await lost(client);
  await mine.document.set({ n: 1 });
  await mine.document.set({ n: 2 });
  await mine.list.set(0, { n: "zero" });
  await mine.list.remove(1);
  await mine.list.push({ n: 3 });
  await mine.map.set("k0", { n: "zero" });
  await mine.map.remove("k1");
  await mine.map.set("k3", { n: 3 });
  await mine.map.remove("k2");
  await mine.map.set("k2", { n: "again" });
  await mine.gone.removeMap();
  proxy.refusing = false;

  await until(() => events.gone.length > 0);
  await assertSameDocument(world.rest, theirs.document);
  await assertSameItems(world.rest, [theirs.list]);
  await assertSameItems(world.rest, [theirs.map]);
  assert.equal(events.document.at(-1).data.n, 2);
  assert.ok(events.document.every(({ isLocal }) => !isLocal));
  assert.deepEqual(
    events.list.map(({ name, index, item, isLocal }) => [name, index ?? item.index, isLocal]),
    [["itemUpdated", 0, false], ["itemRemoved", 1, false], ["itemAdded", 3, false]],
  );
  const lastOf = (key) =>
    events.map.filter((event) => (event.key ?? event.item.key) === key).at(-1);
  assert.deepEqual(lastOf("k0").item.data, { n: "zero" });
  assert.equal(lastOf("k1").name, "itemRemoved");
  assert.deepEqual(lastOf("k2").item.data, { n: "again" });
  assert.equal(lastOf("k3").name, "itemAdded");
  assert.deepEqual(events.gone, [{ name: "removed", isLocal: false }]);
});

test("the catch-up does not repeat what the client did and saw itself", async (t) => {
  const { proxy, client } = await behindProxy(t);
  const list = await client.list(unusedName());
  const map = await client.map(unusedName());
  const document = await client.document(unusedName());
  await subscribed(list, map, document);
  const names = ["itemAdded", "itemUpdated", "itemRemoved"];
  const events = [collect(list, ...names), collect(map, ...names), collect(document, "updated")];
  await list.push({ n: 0 });
  await list.push({ n: 1 });
  await list.remove(0);
  await map.set("k", { n: 0 });
  await map.set("k", { n: 1 });
  await map.remove("k");
  await document.set({ n: 1 });
  const before = structuredClone(events);
  assert.deepEqual(before.map(({ length }) => length), [3, 3, 1]);
  assert.ok(before.flat().every(({ isLocal }) => isLocal));

  for (let round = 1; round <= 2; round += 1) {
    const again = subscribedAgain(list, map, document);
    proxy.cut();
    await again;
  }
  assert.deepEqual(events, before);
});

test("an old connection that dies after the new one was made disturbs nothing", async (t) => {
  const { proxy, client } = await behindProxy(t);
  const theirs = await client.list(unusedName());
  const stream = await client.stream(unusedName());
  await subscribed(theirs, stream);
  const mine = await alice.list(theirs.sid);
  const mineToo = await alice.stream(stream.sid);
  const mirror = new Mirror(theirs);
  const messages = collect(stream, "messagePublished");
  for (let round = 0; round < 5; round += 1) {
    const again = subscribedAgain(theirs, stream);
    proxy.orphan();
    await again;
    await mine.push({ round, old: "alive" });
    await mineToo.publishMessage({ round, old: "alive" });
    proxy.bury();
    await mine.push({ round, old: "dead" });
    await mineToo.publishMessage({ round, old: "dead" });
    await theirs.push({ round, own: true });
  }
  await assertSameItems(world.rest, [mine, theirs], [mirror]);
  assert.equal(mirror.size, 15);
  await until(() => messages.length >= 10);
  assert.deepEqual(
    messages.map(({ message }) => [message.data.round, message.data.old]),
    [0, 1, 2, 3, 4].flatMap((round) => [[round, "alive"], [round, "dead"]]),
  );
});

test("a stream works again after a reconnect, without what was missed", async (t) => {
  const { proxy, client } = await behindProxy(t);
  const theirs = await client.stream(unusedName());
  const mine = await alice.stream(theirs.sid);
  await subscribed(theirs);
  const messages = collect(theirs, "messagePublished");
  proxy.refusing = true;
  proxy.cut();
  await lost(client);
  await mine.publishMessage({ n: "missed" });
  const again = subscribedAgain(theirs);
  proxy.refusing = false;
  await again;
  await mine.publishMessage({ n: "heard" });
  await until(() => messages.length === 1);
  assert.deepEqual(messages[0].message.data, { n: "heard" });
});

test(`many writers on broken connections end in one state (seed ${runSeed})`, async (t) => {
  const random = seeded(runSeed);
  const pick = (count) => Math.floor(random() * count);
  const identities = ["bob", "carol", "dave", "listener"];
  const people = await Promise.all(identities.map((who) => behindProxy(t, who)));
  const [listName, mapName, documentName] = [unusedName(), unusedName(), unusedName()];
  const copies = await Promise.all(
    [...people.map(({ client }) => client), alice].map(async (client) => ({
      list: await client.list(listName),
      map: await client.map(mapName),
      document: await client.document({ id: documentName, data: { n: 0 } }),
    })),
  );
  await subscribed(...copies.flatMap((copy) => Object.values(copy)));
  const [bobs, carols, daves, listeners, alices] = copies;
  const writers = [bobs, carols, daves, alices];
  // Only of who doesn't read: what the SDK reads before a change it takes without an event.
  const listMirror = new Mirror(listeners.list, { replays: true });
  const mapMirror = new Mirror(listeners.map, { replays: true });
  const counts = copies.map(({ document }) => collect(document, "updated"));
  let raised = 0;
  let failed = 0;

  const acts = [
    ({ list }, n) => list.push({ n }),
    ({ list }, n) => list.set(pick(20), { n }),
    ({ list }) => list.remove(pick(20)),
    ({ map }, n) => map.set(`k${pick(10)}`, { n }),
    ({ map }, n) => map.mutate(`k${pick(10)}`, (data) => ({ ...data, [`m${n % 3}`]: n })),
    ({ map }) => map.remove(`k${pick(10)}`),
    async ({ document }) => {
      await document.mutate(({ n }) => ({ n: n + 1 }));
      raised += 1;
    },
  ];
  const write = async (copy) => {
    for (let n = 0; n < 120; n += 1) {
      try {
        await acts[pick(acts.length)](copy, n);
      } catch (error) {
        // A lost connection, or an item that another has removed meanwhile. Of an item whose
        // removal it saw the SDK keeps null, which it then tries to read.
        const removed = error.status === 404 || error instanceof TypeError;
        assert.ok(removed || error.status === 0, String(error));
        failed += error.status === 0;
      }
    }
  };
  let writing = true;
  const disturb = async () => {
    while (writing) {
      await pause(40 + pick(120));
      const { proxy } = people[pick(people.length)];
      [() => proxy.cut(), () => proxy.orphan(), () => proxy.bury()][pick(3)]();
      proxy.pieceBytes = [0, 50, 1000][pick(3)];
      proxy.delayMs = [0, 0, 3][pick(3)];
    }
  };
  const disturbing = disturb();
  await Promise.all(writers.map(write));
  writing = false;
  await disturbing;
  for (const { proxy } of people) {
    proxy.pieceBytes = 0;
    proxy.delayMs = 0;
    proxy.bury();
  }
  await Promise.all(people.map(({ client }) => connected(client)));

  await assertSameDocument(world.rest, ...copies.map(({ document }) => document));
  await assertSameItems(world.rest, copies.map(({ list }) => list), [listMirror]);
  await assertSameItems(world.rest, copies.map(({ map }) => map), [mapMirror]);
  assert.ok(copies[0].document.data.n >= raised, "an acknowledged change was lost");
  for (const told of counts) {
    const seen = told.map(({ data }) => data.n);
    assert.deepEqual(seen, [...new Set(seen)].sort((a, b) => a - b));
  }
  t.diagnostic(`${failed} calls failed for want of a connection`);
});
