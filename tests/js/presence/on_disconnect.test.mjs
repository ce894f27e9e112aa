// Changes that official SDK clients leave behind for the moment at which they are gone.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { unusedName } from "../lib/environment.mjs";
import { restItems } from "../lib/state.mjs";
import { pause, until } from "../lib/waiting.mjs";
import { WINDOW_MS, openWorld } from "./lib.mjs";

const world = await openWorld();
after(() => world.close());

const register = () => restItems(world.rest.syncMaps("on-disconnect"));

test("a client's actions are performed once its window has passed, in their order", async () => {
  const client = await world.connect("gil");
  const seats = await client.map(unusedName("seats"));
  await seats.set("4b", { who: "gil" });
  const status = await client.document({ id: unusedName("status"), data: { gil: "here" } });
  const actions = await client.map("on-disconnect");
  await actions.set("gil-seat", { action: "remove_item", map: seats.uniqueName, key: "4b" });
  await actions.set("gil-n", { action: "set_item", map: seats.sid, key: "n", data: { n: 1 } });
  const data = { gil: "gone" };
  await actions.set("gil-s", { action: "set_document", document: status.uniqueName, data });
  await actions.set("gil-m", { action: "set_item", map: seats.sid, key: "n", data: { n: 2 } });
  const { owner } = (await register())["gil-seat"];
  assert.equal(owner.identity, "gil");

  const began = performance.now();
  await client.shutdown();
  await pause(WINDOW_MS / 2);
  assert.deepEqual(await restItems(world.rest.syncMaps(seats.sid)), { "4b": { who: "gil" } });
  await until(async () => Object.keys(await register()).length === 0);
  const took = performance.now() - began;
  assert.ok(took > WINDOW_MS - 50 && took < WINDOW_MS + 2000, `performed after ${took} ms`);
  assert.deepEqual(await restItems(world.rest.syncMaps(seats.sid)), { n: { n: 2 } });
  assert.deepEqual((await world.rest.documents(status.sid).fetch()).data, data);
  const [item] = await world.rest.syncMaps(seats.sid).syncMapItems.list();
  assert.equal(item.createdBy, "gil");
});

test("an action can be changed and taken back, and only by its identity", async () => {
  const client = await world.connect("hal");
  const other = await world.connect("ida");
  const seats = await client.map(unusedName("seats"));
  const actions = await client.map("on-disconnect");
  const action = { action: "set_item", map: seats.sid, key: "x", data: { n: 1 } };
  await actions.set("hal-1", action);
  await actions.set("hal-2", { ...action, key: "y" });
  const theirs = await other.map("on-disconnect");
  const refused = { status: 403, code: 54007 };
  await assert.rejects(theirs.set("hal-1", action), refused);
  await assert.rejects(theirs.remove("hal-1"), refused);
  await actions.set("hal-1", { ...action, data: { n: 2 } });
  await actions.remove("hal-2");
  await client.shutdown();
  await until(async () => !("hal-1" in (await register())));
  assert.deepEqual(await restItems(world.rest.syncMaps(seats.sid)), { x: { n: 2 } });
});

test("another endpoint of the identity takes an action over", async () => {
  const first = await world.connect("jan");
  const second = await world.connect("jan");
  const seats = await first.map(unusedName("seats"));
  const action = { action: "set_item", map: seats.sid, key: "x", data: {} };
  await (await first.map("on-disconnect")).set("jan", action);
  await (await second.map("on-disconnect")).set("jan", action);
  await first.shutdown();
  await pause(WINDOW_MS * 1.5);
  assert.deepEqual(await restItems(world.rest.syncMaps(seats.sid)), {});
  await second.shutdown();
  await until(async () => "x" in (await restItems(world.rest.syncMaps(seats.sid))));
});

test("what cannot be an action is refused", async () => {
  const client = await world.connect("kit");
  const actions = await client.map("on-disconnect");
  const refused = { status: 400, code: 20001 };
  const bad = [
    {},
    { action: "launch" },
    { action: "remove_item", map: "m" },
    { action: "set_item", map: "m", key: "k", data: 1 },
    { action: "set_document", document: 7, data: {} },
    { action: "remove_item", map: "presence", key: "watcher" },
    { action: "remove_item", map: "on-disconnect", key: "kit" },
    { action: "set_document", document: "starlings.presence", data: {} },
  ];
  for (const data of bad) {
    await assert.rejects(actions.set("kit", data), refused, JSON.stringify(data));
  }
  const action = { action: "remove_item", map: "m", key: "k" };
  await assert.rejects(actions.set("kit", action, { ttl: 5 }), { status: 400, code: 54011 });
  const results = await Promise.allSettled(
    Array.from({ length: 25 }, (_, n) => actions.set(`kit-${n}`, action)),
  );
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 20);
  const rest = world.rest.syncMaps("on-disconnect").syncMapItems;
  await assert.rejects(rest.create({ key: "x", data: action }), { status: 403 });
  await rest("kit-0").remove();
  await actions.set("kit-99", action);
});

test("an action has the rights of its identity, and no more", async () => {
  const closed = await openWorld({ aclEnabled: true });
  after(() => closed.close());
  const { rest } = closed;
  const [open, shut] = await Promise.all(
    ["open", "shut"].map((uniqueName) => rest.syncMaps.create({ uniqueName })),
  );
  const all = { read: true, write: true, manage: false };
  await rest.syncMaps("on-disconnect").syncMapPermissions("lou").update(all);
  await rest.syncMaps(open.sid).syncMapPermissions("lou").update(all);
  const client = await closed.connect("lou");
  await assert.rejects(client.map("presence"), { status: 403 });
  const actions = await client.map("on-disconnect");
  for (const map of ["open", "shut"]) {
    await actions.set(map, { action: "set_item", map, key: "lou", data: { n: 1 } });
  }
  await client.shutdown();
  await until(async () => "lou" in (await restItems(rest.syncMaps(open.sid))));
  await until(async () => !("shut" in (await restItems(rest.syncMaps("on-disconnect")))));
  assert.deepEqual(await restItems(rest.syncMaps(shut.sid)), {});
});
