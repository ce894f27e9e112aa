// The presence Map as official SDK clients see it.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { subscribed, subscribedAgain } from "../lib/clients.mjs";
import { socketUrl } from "../lib/environment.mjs";
import { Proxy } from "../lib/proxy.mjs";
import { restItems } from "../lib/state.mjs";
import { collect, pause, until } from "../lib/waiting.mjs";
import { WINDOW_MS, entry, entryThat, isGone, openWorld, presenceSettings } from "./lib.mjs";

const world = await openWorld();
after(() => world.close());
const watcher = await world.connect("watcher");
const map = await watcher.map("presence");
await subscribed(map);

test("an entry comes with the first endpoint and goes after the last one's window", async () => {
  const began = Date.now();
  const phone = await world.connect("ann");
  const first = await entryThat(map, "ann", (data) => data?.endpoints === 1);
  assert.ok(Math.abs(Date.parse(first.since) - began) < 5000, first.since);
  const laptop = await world.connect("ann");
  await entryThat(map, "ann", (data) => data?.endpoints === 2);
  await phone.shutdown();
  const one = await entryThat(map, "ann", (data) => data?.endpoints === 1);
  assert.equal(one.since, first.since);
  const left = performance.now();
  await laptop.shutdown();
  await entryThat(map, "ann", isGone);
  const took = performance.now() - left;
  assert.ok(took > WINDOW_MS - 50 && took < WINDOW_MS + 2000, `gone after ${took} ms`);
});

test("who comes back within the window was never gone", async () => {
  const first = await world.connect("bea");
  const { since } = await entryThat(map, "bea", (data) => data?.endpoints === 1);
  const events = collect(map, "itemAdded", "itemRemoved", "itemUpdated");
  await first.shutdown();
  await pause(WINDOW_MS / 4);
  await world.connect("bea");
  await pause(WINDOW_MS * 1.5);
  assert.equal((await entry(map, "bea")).since, since);
  assert.deepEqual(events.filter(({ item, key }) => (item?.key ?? key) === "bea"), []);
});

test("a client counts once while its old connection is not known to be dead", async (t) => {
  const proxy = await Proxy.listen(socketUrl);
  const client = await world.connect("cat", { url: proxy.url });
  t.after(async () => {
    await client.shutdown();
    await proxy.close();
  });
  const before = await entryThat(map, "cat", (data) => data?.endpoints === 1);
  const actions = await client.map("on-disconnect");
  await subscribed(actions);
  await actions.set("cat", { action: "remove_item", map: "m", key: "k" });
  const events = collect(map, "itemAdded", "itemRemoved", "itemUpdated");
  for (const lose of ["orphan", "cut", "orphan"]) {
    const again = subscribedAgain(actions);
    proxy[lose]();
    await again;
  }
  await pause(WINDOW_MS / 2);
  proxy.bury();
  await pause(WINDOW_MS * 1.5);
  assert.deepEqual(await entry(map, "cat"), before);
  assert.deepEqual(events.filter(({ item, key }) => (item?.key ?? key) === "cat"), []);
  assert.ok("cat" in (await restItems(world.rest.syncMaps("on-disconnect"))));
});

test("what a client publishes is in its entry, for itself too", async () => {
  const client = await world.connect("cleo");
  const own = await client.map("presence");
  await subscribed(own);
  await own.set("cleo", { mood: "merry" });
  const isMerry = (data) => data?.client?.mood === "merry" && data.endpoints === 1;
  await entryThat(map, "cleo", isMerry);
  await entryThat(own, "cleo", isMerry);
  await own.update("cleo", { client: { mood: "calm" } });
  await entryThat(map, "cleo", (data) => data?.client?.mood === "calm" && data.endpoints === 1);
  await own.mutate("cleo", (data) => {
    data.client.busy = true;
    data.endpoints = 77;
    return data;
  });
  const seen = await entryThat(own, "cleo", (data) => data?.client?.busy);
  assert.deepEqual(seen, { endpoints: 1, since: seen.since, client: { mood: "calm", busy: true } });
  await world.connect("cleo");
  await entryThat(map, "cleo", (data) => data?.endpoints === 2 && data.client.busy);
});

test("nobody writes what the server keeps", async () => {
  const client = await world.connect("dora");
  const own = await client.map("presence");
  const refused = { status: 403, code: 54007 };
  await entryThat(own, "dora", (data) => data?.endpoints === 1);
  await assert.rejects(own.set("watcher", { mood: "bad" }), refused);
  await assert.rejects(own.set("nobody", { mood: "bad" }), refused);
  await assert.rejects(own.remove("dora"), refused);
  await assert.rejects(own.remove("watcher"), refused);
  await assert.rejects(own.setTtl(10), refused);
  await assert.rejects(own.set("dora", {}, { ttl: 10 }), { status: 400, code: 54011 });
  await assert.rejects(own.set("dora", { x: "x".repeat(16300) }), { status: 413, code: 54006 });
  await assert.rejects(own.removeMap(), refused);
  await assert.rejects(client.document("starlings.presence").then((one) => one.set({})), refused);
  const rest = world.rest.syncMaps("presence");
  await assert.rejects(rest.syncMapItems.create({ key: "x", data: {} }), refused);
  await assert.rejects(rest.syncMapItems("dora").remove(), refused);
  await assert.rejects(rest.remove(), refused);
  assert.deepEqual((await restItems(rest)).dora, await entry(map, "dora"));
});

test("the Map can be renamed and switched off while clients are connected", async () => {
  const other = await openWorld();
  after(() => other.close());
  const client = await other.connect("eve");
  const old = await client.map("presence");
  await entryThat(old, "eve", (data) => data?.endpoints === 1);
  const removed = collect(old, "removed");
  const renamed = await presenceSettings(other.serviceSid, { MapUniqueName: "who" });
  assert.equal(renamed.body.map_unique_name, "who");
  const fresh = await client.map("who");
  await entryThat(fresh, "eve", (data) => data?.endpoints === 1);
  await until(() => removed.length === 1);
  const gone = collect(fresh, "removed");
  const off = await presenceSettings(other.serviceSid, { Enabled: "false" });
  assert.equal(off.body.enabled, false);
  await until(() => gone.length === 1); // until then the client opens what it has
  await assert.rejects(other.rest.syncMaps("who").fetch(), { status: 404 });
  await until(() => gone.length === 1);  // or the client would take the one that it knows
  await client.map("who");
  const taken = await presenceSettings(other.serviceSid, { Enabled: "true", MapUniqueName: "who" });
  assert.deepEqual([taken.status, taken.body.code], [409, 54301]);
  assert.equal((await presenceSettings(other.serviceSid)).body.enabled, false);
});
