// The server is killed and restarted while clients write and listen.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { World, connected, subscribed } from "../lib/clients.mjs";
import { killServer, restartServer } from "../lib/control.mjs";
import { unusedName } from "../lib/environment.mjs";
import { Mirror, assertSameDocument, assertSameItems, restItems } from "../lib/state.mjs";
import { RESTART_PATIENCE_MS, collect, pause, until, within } from "../lib/waiting.mjs";

const world = await World.open();
after(() => world.close());

/**
 * Two writers and two listeners, with what was acknowledged to the writers.
 *
 * The writers go on until `stop` is called, whatever fails, or the test is over.
 */
async function underLoad(t) {
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
  t.after(() => {
    load.writing = false;
  });
  const underWay = new Set();
  const attempt = async (what, action) => {
    const started = performance.now();
    const call = { what, started };
    underWay.add(call);
    try {
      await action();
    } catch (error) {
      assert.equal(error.status, 0, String(error));
      load.failed += 1;
    } finally {
      underWay.delete(call);
    }
    load.slowestMs = Math.max(load.slowestMs, performance.now() - started);
  };
  const loops = [0, 1].flatMap((who) => {
    const { list, map, document } = copies[who];
    const loop = async (what, action) => {
      for (let n = 0; load.writing; n += 1) {
        await attempt(`${what} of ${identities[who]}`, () => action(n));
        await pause(1);
      }
    };
    return [
      loop("push", async (n) => load.pushed.set((await list.push({ who, n })).index, { who, n })),
      loop("set", (n) => map.set(`k${n % 50}`, { who, n })),
      loop("mutate", async () => {
        await document.mutate(({ n }) => ({ n: n + 1 }));
        load.raised += 1;
      }),
    ];
  });
  load.describeCalls = () => {
    const calls = [...underWay].map(({ what, started }) => {
      return `${what} for ${Math.round(performance.now() - started)} ms`;
    });
    const states = clients.map(({ connectionState }) => connectionState);
    return `${calls.join(", ")}; the clients are ${states.join(", ")}`;
  };
  load.stop = async () => {
    load.writing = false;
    await within(Promise.all(loops), load.describeCalls, RESTART_PATIENCE_MS);
    await Promise.all(clients.map((client) => connected(client)));
  };
  return load;
}

async function assertNothingWasLost(load) {
  await assertSameDocument(world.rest, ...load.documents);
  await assertSameItems(world.rest, load.lists, load.listMirrors);
  await assertSameItems(world.rest, load.maps, load.mapMirrors);
  // The SDK waits 30 seconds for a reply: nobody may be left to that. For a connection it waits 20,
  // and on a busy machine a restart takes half of them.
  assert.ok(load.slowestMs < 28_000, `a call hung for ${Math.round(load.slowestMs)} ms`);
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
  return until(
    () => load.pushed.size >= goal,
    () => `${load.pushed.size} of ${goal} pushes; under way: ${load.describeCalls()}`,
    RESTART_PATIENCE_MS,
  );
}

test("after kill -9 and a restart all that was acknowledged is there, for everybody", async (t) => {
  const load = await underLoad(t);
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
  const load = await underLoad(t);
  await progress(load, 100);
  await restartServer();
  await Promise.all(load.clients.map((client) => connected(client)));
  await progress(load, 100);
  await load.stop();
  await assertNothingWasLost(load);
  t.diagnostic(`${load.pushed.size} pushes, ${load.raised} mutations, ${load.failed} calls failed`);
});
