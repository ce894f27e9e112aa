// The server is killed and restarted while clients write and listen.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { World, connected, subscribed } from "../lib/clients.mjs";
import { killServer, restartServer } from "../lib/control.mjs";
import { unusedName } from "../lib/environment.mjs";
import { Mirror, assertSameDocument, assertSameItems, restItems } from "../lib/state.mjs";
import { collect, pause, until } from "../lib/waiting.mjs";

const world = await World.open();
after(() => world.close());

/**
 * Two writers and two listeners, with what was acknowledged to the writers.
 *
 * The writers go on until `stop` is called, whatever fails.
 */
async function underLoad() {
  const identities = ["alice", "bob", "carol", "carol"];
  const clients = await Promise.all(identities.map((identity) => world.connect(identity)));
  const [listName, mapName, documentName] = [unusedName(), unusedName(), unusedName()];
  const copies = await Promise.all(
    clients.map(async (client) => ({
      list: await client.list(listName),
      map: await client.map(mapName),
      document: await client.document({ id: documentName, data: { n: 0 } }),
    })),
  );
  await subscribed(...copies.flatMap((copy) => Object.values(copy)));
  const load = {
    clients,
    copies,
    lists: copies.map(({ list }) => list),
    maps: copies.map(({ map }) => map),
    documents: copies.map(({ document }) => document),
    listMirrors: copies.slice(2).map(({ list }) => new Mirror(list, { replays: true })),
    mapMirrors: copies.slice(2).map(({ map }) => new Mirror(map, { replays: true })),
    counts: copies.map(({ document }) => collect(document, "updated")),
    pushed: new Map(),
    raised: 0,
    failed: 0,
    /** How long the slowest call took until it succeeded or failed. */
    slowestMs: 0,
    writing: true,
  };
  const attempt = async (action) => {
    const started = performance.now();
    try {
      await action();
    } catch (error) {
      assert.equal(error.status, 0, String(error));
      load.failed += 1;
    }
    load.slowestMs = Math.max(load.slowestMs, performance.now() - started);
  };
  const loops = [0, 1].flatMap((who) => {
    const { list, map, document } = copies[who];
    const loop = async (action) => {
      for (let n = 0; load.writing; n += 1) {
        await attempt(() => action(n));
        await pause(1);
      }
    };
    return [
      loop(async (n) => load.pushed.set((await list.push({ who, n })).index, { who, n })),
      loop((n) => map.set(`k${n % 50}`, { who, n })),
      loop(async () => {
        await document.mutate(({ n }) => ({ n: n + 1 }));
        load.raised += 1;
      }),
    ];
  });
  load.stop = async () => {
    load.writing = false;
    await Promise.all(loops);
    await Promise.all(clients.map((client) => connected(client)));
  };
  return load;
}

async function assertNothingWasLost(load) {
  await assertSameDocument(world.rest, ...load.documents);
  await assertSameItems(world.rest, load.lists, load.listMirrors);
  await assertSameItems(world.rest, load.maps, load.mapMirrors);
  // The SDK's own patience is 30 seconds: nobody may be left to that.
  assert.ok(load.slowestMs < 15_000, `a call hung for ${Math.round(load.slowestMs)} ms`);
  const items = await restItems(world.rest.syncLists(load.lists[0].sid));
  for (const [index, data] of load.pushed) {
    assert.deepEqual(items[index], data, `item ${index} was acknowledged`);
  }
  assert.ok(load.documents[0].data.n >= load.raised, "an acknowledged change was lost");
  for (const told of load.counts) {
    const seen = told.map(({ data }) => data.n);
    assert.deepEqual(seen, [...new Set(seen)].sort((a, b) => a - b));
  }
}

/** Waits until both writers have been acknowledged this many more changes. */
function progress(load, count) {
  const goal = load.pushed.size + count;
  return until(() => load.pushed.size >= goal, () => `${load.pushed.size} of ${goal} pushes`);
}

test("after kill -9 and a restart all that was acknowledged is there, for everybody", async (t) => {
  const load = await underLoad();
  for (let crash = 0; crash < 3; crash += 1) {
    await progress(load, 100);
    await killServer();
    await until(() => load.clients.every(({ connectionState }) => connectionState !== "connected"));
    await restartServer();
    await Promise.all(load.clients.map((client) => connected(client)));
  }
  await progress(load, 100);
  await load.stop();
  await assertNothingWasLost(load);
  t.diagnostic(`${load.pushed.size} pushes, ${load.raised} mutations, ${load.failed} calls failed`);
});

test("an orderly restart loses nothing either", async (t) => {
  const load = await underLoad();
  await progress(load, 100);
  await restartServer();
  await Promise.all(load.clients.map((client) => connected(client)));
  await progress(load, 100);
  await load.stop();
  await assertNothingWasLost(load);
  t.diagnostic(`${load.pushed.size} pushes, ${load.raised} mutations, ${load.failed} calls failed`);
});
