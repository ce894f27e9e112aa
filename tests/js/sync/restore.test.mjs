// A backup is put back while clients have objects open: what they know is of a history that was cut.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { World, connected, subscribed, subscribedAgain } from "../lib/clients.mjs";
import { backUp, restartServer, restore } from "../lib/control.mjs";
import { socketUrl, unusedName } from "../lib/environment.mjs";
import { Proxy } from "../lib/proxy.mjs";
import { assertSameDocument, assertSameItems, sdkItems } from "../lib/state.mjs";
import { RESTART_PATIENCE_MS, collect, until, waitForEvent } from "../lib/waiting.mjs";

const world = await World.open();
after(() => world.close());

/** A client with an object of each kind that has a state, behind a proxy. */
async function aReader(t, names) {
  const proxy = await Proxy.listen(socketUrl);
  const client = await world.connect("reader", { url: proxy.url });
  t.after(async () => {
    await client.shutdown();
    await proxy.close();
  });
  return { proxy, client, ...(await open(client, names)) };
}

async function open(client, names) {
  const document = await client.document(names.document);
  const list = await client.list(names.list);
  const map = await client.map(names.map);
  await subscribed(document, list, map);
  return { document, list, map };
}

/** Objects with something in them, and a writer who has them open. */
async function aWriter() {
  const names = { document: unusedName(), list: unusedName(), map: unusedName() };
  const client = await world.connect("writer");
  const document = await client.document({ id: names.document, data: { n: 1 } });
  const [list, map] = [await client.list(names.list), await client.map(names.map)];
  await list.push({ n: 1 });
  await map.set("k", { n: 1 });
  return { names, client, document, list, map };
}

/** All that `change` does happens after the backup, and is lost. */
async function loseWhatHappensIn(change) {
  await backUp();
  await change();
  await restore();
}

/** Waits until all three are reported as gone; to be called before the backup is made. */
const removals = ({ document, list, map }) =>
  Promise.all(
    [document, list, map].map((object) =>
      waitForEvent(object, "removed", undefined, 2 * RESTART_PATIENCE_MS),
    ),
  );

test("objects are reported as gone, and opening them anew shows the restored state", async (t) => {
  const writer = await aWriter();
  const reader = await aReader(t, writer.names);
  const gone = removals(reader);
  await loseWhatHappensIn(async () => {
    await writer.document.set({ n: 2 });
    await writer.list.push({ n: 2 });
    await writer.map.set("k", { n: 2 });
    await writer.map.set("lost", {});
    await until(async () => "lost" in (await sdkItems(reader.map)));
  });
  await gone;

  const again = await open(reader.client, writer.names);
  assert.deepEqual(again.document.data, { n: 1 });
  assert.deepEqual(await sdkItems(again.list), { 0: { n: 1 } });
  assert.deepEqual(await sdkItems(again.map), { k: { n: 1 } });

  // The ids of what was lost are given out again, and must count.
  const other = await open(await world.connect("other"), writer.names);
  await other.document.set({ n: 3 });
  await other.map.set("k", { n: 3 });
  await other.list.push({ n: 3 });
  await until(async () => Object.keys(await sdkItems(again.list)).length === 2);
  await until(async () => (await again.map.get("k")).data.n === 3);
  await until(() => again.document.data.n === 3);
  await assertSameDocument(world.rest, again.document, other.document);
  await assertSameItems(world.rest, [again.list, other.list]);
  await assertSameItems(world.rest, [again.map, other.map]);

  // Once opened anew they stay, on later connections too.
  const told = [again.document, again.list, again.map].map((one) => collect(one, "removed"));
  const established = subscribedAgain(again.document, again.list, again.map);
  reader.proxy.cut();
  await established;
  await other.map.set("k", { n: 4 });
  await until(async () => (await again.map.get("k")).data.n === 4);
  assert.deepEqual(told, [[], [], []]);
});

/** Objects whose last changes get lost while their reader is cut off; others are made instead. */
async function cutOffFromARestore(t) {
  const writer = await aWriter();
  const reader = await aReader(t, writer.names);
  const gone = removals(reader);
  await loseWhatHappensIn(async () => {
    await writer.document.set({ n: 2 });
    await writer.list.push({ n: 2 });
    await writer.map.set("k", { n: 2 });
    await until(() => reader.document.data.n === 2);
    reader.proxy.refusing = true;
    reader.proxy.cut();
  });
  // As many changes as were lost: by its number alone each would seem to be known already.
  const other = await open(await world.connect("other"), writer.names);
  await other.document.set({ n: 3 });
  await other.list.push({ n: 3 });
  await other.map.set("k", { n: 3 });
  return { names: writer.names, reader, gone };
}

async function assertRestored({ names, reader, gone }) {
  await gone;
  const again = await open(reader.client, names);
  assert.deepEqual(again.document.data, { n: 3 });
  assert.deepEqual(await sdkItems(again.list), { 0: { n: 1 }, 1: { n: 3 } });
  assert.deepEqual(await sdkItems(again.map), { k: { n: 3 } });
}

test("who loses the first connection after it too is told on the next one", async (t) => {
  const { reader, ...rest } = await cutOffFromARestore(t);
  // The client takes its new token with `init` and asks for its objects a tenth of a second later.
  reader.proxy.refusing = false;
  await connected(reader.client);
  reader.proxy.cut();
  await assertRestored({ reader, ...rest });
});

test("who comes back to stay only after yet another restart is told then", async (t) => {
  const { reader, ...rest } = await cutOffFromARestore(t);
  reader.proxy.refusing = false;
  await connected(reader.client);
  reader.proxy.refusing = true;
  reader.proxy.cut();
  await restartServer();
  reader.proxy.refusing = false;
  await assertRestored({ reader, ...rest });

  // And is not told again after one more, of objects that it has opened anew.
  const { document } = await open(reader.client, rest.names);
  const told = collect(document, "removed");
  const established = subscribedAgain(document);
  await restartServer();
  await established;
  await document.set({ n: 4 });
  assert.deepEqual(told, []);
});
