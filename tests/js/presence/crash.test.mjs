// The server is killed: no ghosts stay, nobody who comes back is lost, actions are performed.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { connected, subscribed } from "../lib/clients.mjs";
import { killServer, restartServer } from "../lib/control.mjs";
import { restItems } from "../lib/state.mjs";
import { collect, pause, until } from "../lib/waiting.mjs";
import { WINDOW_MS, entryThat, isGone, openWorld } from "./lib.mjs";

const world = await openWorld();
after(() => world.close());

test("a restart of the server is nobody's absence", async () => {
  const watcher = await world.connect("watcher");
  const map = await watcher.map("presence");
  await subscribed(map);
  const client = await world.connect("zoe");
  await (await client.map("presence")).set("zoe", { mood: "merry" });
  const actions = await client.map("on-disconnect");
  const data = { identity: "zoe" };
  await actions.set("zoe", { action: "set_item", map: "seats", key: "zoe", data });
  const before = await entryThat(map, "zoe", (data) => data?.client && data.endpoints === 1);
  const events = collect(map, "itemAdded", "itemRemoved", "itemUpdated");

  await restartServer();
  await Promise.all([watcher, client].map(connected));
  await pause(WINDOW_MS * 1.5);
  assert.deepEqual(events, []);
  assert.deepEqual(await entryThat(map, "zoe", () => true), before);
  assert.ok("zoe" in (await restItems(world.rest.syncMaps("on-disconnect"))));
  await actions.remove("zoe");
  await client.shutdown();
  await entryThat(map, "zoe", isGone);
  await watcher.shutdown();
});

test("after a crash the Map tells who is there, and who did not come back has gone", async () => {
  const watcher = await world.connect("watcher");
  const map = await watcher.map("presence");
  await subscribed(map);
  const [ann, bea] = await Promise.all(["ann", "bea"].map((identity) => world.connect(identity)));
  await (await ann.map("presence")).set("ann", { mood: "merry" });
  const seats = await ann.map("seats");
  for (const [identity, client] of Object.entries({ ann, bea })) {
    const actions = await client.map("on-disconnect");
    const data = { identity };
    await actions.set(identity, { action: "set_item", map: "seats", key: identity, data });
  }
  const before = await entryThat(map, "ann", (data) => data?.client && data.endpoints === 1);
  await entryThat(map, "bea", (data) => data?.endpoints === 1);
  const events = collect(map, "itemAdded", "itemRemoved");

  await killServer();
  await bea.shutdown();
  await restartServer();
  await Promise.all([watcher, ann].map(connected));
  await entryThat(map, "bea", isGone);
  assert.deepEqual(
    events.map(({ name, key }) => [name, key]),
    [["itemRemoved", "bea"]],
  );
  assert.deepEqual(await entryThat(map, "ann", () => true), before);
  await until(async () => "bea" in (await restItems(world.rest.syncMaps(seats.sid))));
  assert.deepEqual(Object.keys(await restItems(world.rest.syncMaps(seats.sid))), ["bea"]);
  assert.deepEqual(Object.keys(await restItems(world.rest.syncMaps("on-disconnect"))), ["ann"]);

  await ann.shutdown();
  await entryThat(map, "ann", isGone);
  await until(async () => "ann" in (await restItems(world.rest.syncMaps(seats.sid))));
});
