// What live queries must survive: expiry, removals, reconnects, permissions. The plain cases are in
// sync/query.test.mjs.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { runSeed, seeded } from "../lib/chance.mjs";
import { World, subscribed } from "../lib/clients.mjs";
import { socketUrl, unusedName } from "../lib/environment.mjs";
import { Proxy } from "../lib/proxy.mjs";
import { collect, pause, until, waitForEvent } from "../lib/waiting.mjs";

const world = await World.open();
const alice = await world.connect("alice");
const bob = await world.connect("bob");
after(() => world.close());

async function index(items) {
  const name = unusedName("index");
  const map = await alice.map(name);
  for (const [key, data] of Object.entries(items)) {
    await map.set(key, data);
  }
  return { name, map };
}

test("an item that expires leaves, and may come again", async () => {
  const { name, map } = await index({});
  await map.set("a", { team: "blue" }, { ttl: 2 });
  const live = await bob.liveQuery(name, 'team == "blue"');
  const left = waitForEvent(live, "itemRemoved");
  assert.deepEqual(live.getItems(), { a: { team: "blue" } });
  await subscribed(live);
  assert.deepEqual(await left, { key: "a" });
  assert.deepEqual(live.getItems(), {});
  const told = waitForEvent(live, "itemUpdated");
  await map.set("a", { team: "blue", n: 2 });
  assert.deepEqual((await told).value, { team: "blue", n: 2 });
});

test("an item may change as often as it likes", async () => {
  const { name, map } = await index({ a: { n: 0 } });
  const live = await bob.liveQuery(name, "");
  await subscribed(live);
  const events = collect(live, "itemUpdated");
  for (let n = 1; n <= 150; n += 1) {
    await map.set("a", { n });
  }
  await until(() => events.length === 150);
  assert.deepEqual(events.map(({ value }) => value.n), Array.from({ length: 150 }, (_, n) => n + 1));
  assert.equal(typeof events[0].lastEventId, "number");
});

test("a removed map empties the result and is told as a failure", async () => {
  const { name, map } = await index({ a: { n: 0 }, b: { n: 1 } });
  const live = await bob.liveQuery(name, "");
  await subscribed(live);
  const events = collect(live, "itemRemoved");
  const failed = waitForEvent(live, "failure");
  await map.removeMap();
  const failure = await failed;
  assert.deepEqual([failure.status, failure.code], [400, 54502]);
  assert.deepEqual(events.map(({ key }) => key).sort(), ["a", "b"]);
  assert.deepEqual(live.getItems(), {});
  live.close();
  const again = await alice.map(name);
  await again.set("c", {});
  const anew = await bob.liveQuery(name, "");
  assert.deepEqual(anew.getItems(), { c: {} });
  await subscribed(anew);
  const told = waitForEvent(anew, "itemUpdated");
  await again.set("a", { fresh: true });
  assert.equal((await told).key, "a");
});

test("changes between the result and the subscription are not lost", async () => {
  const { name, map } = await index({ a: { n: 0 }, gone: { n: 1 } });
  const proxy = await Proxy.listen(socketUrl);
  const dave = await world.connect("dave", { url: proxy.url });
  for (let round = 0; round < 5; round += 1) {
    const live = await dave.liveQuery(name, `data.n != ${round + 100}`);
    await map.set("a", { n: round + 1 });
    await map.set(`new${round}`, { n: 5 });
    if (round === 2) {
      await map.remove("gone");
    }
    await subscribed(live);
    await until(() => live.getItems().a.n === round + 1);
    await until(() => `new${round}` in live.getItems() && "gone" in live.getItems() === round < 2);
    live.close();
  }
  await dave.shutdown();
  await proxy.close();
});

test("nothing is told after a reconnect when nothing was missed", async () => {
  const { name, map } = await index({ a: { team: "blue" } });
  const proxy = await Proxy.listen(socketUrl);
  const erin = await world.connect("erin", { url: proxy.url });
  const live = await erin.liveQuery(name, 'team == "blue"');
  await subscribed(live);
  const events = collect(live, "itemUpdated", "itemRemoved");
  proxy.cut();
  await until(() => erin.connectionState !== "connected");
  await map.set("b", { team: "red" });
  await until(() => erin.connectionState === "connected");
  await subscribed(live);
  assert.deepEqual(events, []);
  const told = waitForEvent(live, "itemUpdated");
  await map.set("c", { team: "blue" });
  await told;
  assert.deepEqual(events.map(({ key }) => key), ["c"]);
  await erin.shutdown();
  await proxy.close();
});

test("a lost permission ends it, with access control on", async () => {
  const guarded = await World.open({ aclEnabled: true });
  const owner = await guarded.connect("owner");
  const reader = await guarded.connect("reader");
  const name = unusedName("guarded");
  const map = await owner.map(name);
  await map.set("a", {});
  await assert.rejects(reader.liveQuery(name, ""), { status: 403, code: 54007 });
  const permissions = guarded.rest.syncMaps(map.sid).syncMapPermissions("reader");
  await permissions.update({ read: true, write: false, manage: false });
  const live = await reader.liveQuery(name, "");
  await subscribed(live);
  const failed = waitForEvent(live, "failure");
  await permissions.update({ read: false, write: false, manage: false });
  const { status, code } = await failed;
  assert.deepEqual([status, code], [403, 54007]);
  const events = collect(live, "itemUpdated");
  await map.set("b", {});
  await pause(200);
  assert.deepEqual(events, []);
  await guarded.close();
});

test("whatever happens, it ends up with what a search finds", async () => {
  const { name, map } = await index({});
  const proxy = await Proxy.listen(socketUrl, { seed: runSeed });
  proxy.delayMs = 3;
  const frank = await world.connect("frank", { url: proxy.url });
  const random = seeded(runSeed);
  const pick = (choices) => choices[Math.floor(random() * choices.length)];
  const expressions = ['team == "blue"', 'team != "blue"', "data.n > 500", ""];
  const lives = await Promise.all(expressions.map((text) => frank.liveQuery(name, text)));
  for (let step = 0; step < 300; step += 1) {
    const key = `k${Math.floor(random() * 12)}`;
    if (random() < 0.2) {
      await map.remove(key).catch((error) => assert.equal(error.status, 404));
    } else {
      await map.set(key, { team: pick(["blue", "red"]), n: Math.floor(random() * 1000) });
    }
    if (step % 60 === 30) {
      proxy.cut();
    }
  }
  for (const [place, live] of lives.entries()) {
    const query = await bob.instantQuery(name);
    await query.search(expressions[place]);
    const expected = query.getItems();
    await until(
      () => isDeepStrictEqual(live.getItems(), expected),
      () => `seed ${runSeed}: ${JSON.stringify([live.getItems(), expected])}`,
    );
  }
  await frank.shutdown();
  await proxy.close();
});
