// Much at once: a long catch-up, and many subscriptions on one connection.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { runSeed } from "../lib/chance.mjs";
import { World, subscribed, subscribedAgain } from "../lib/clients.mjs";
import { socketUrl, unusedName } from "../lib/environment.mjs";
import { Proxy } from "../lib/proxy.mjs";
import { Mirror, assertSameItems, sdkItems } from "../lib/state.mjs";
import { collect, pause, until, waitForEvent } from "../lib/waiting.mjs";

const LONG_MS = 40_000;

const world = await World.open();
const alice = await world.connect("alice");
after(() => world.close());

async function behindProxy(t) {
  const proxy = await Proxy.listen(socketUrl, { seed: runSeed });
  const client = await world.connect("bob", { url: proxy.url });
  t.after(async () => {
    await client.shutdown();
    await proxy.close();
  });
  return { proxy, client };
}

/** Runs the action for 0 … count-1, `width` at a time. */
async function inParallel(count, width, action) {
  let next = 0;
  const worker = async () => {
    while (next < count) {
      await action(next++);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
}

test("ten thousand missed events of a list arrive, once and in order", async (t) => {
  const COUNT = 10_000;
  const { proxy, client } = await behindProxy(t);
  const source = await alice.list(unusedName());
  const list = await client.list(source.sid);
  await subscribed(list);
  const mirror = new Mirror(list);
  const indexes = collect(list, "itemAdded");
  proxy.refusing = true;
  proxy.cut();
  await until(() => client.connectionState !== "connected");

  const started = performance.now();
  await inParallel(COUNT, 256, (n) => source.push({ n }));
  const written = performance.now();
  proxy.refusing = false;
  await until(() => mirror.size === COUNT, () => `${mirror.size} of ${COUNT}`, LONG_MS);
  const caughtUp = performance.now();

  assert.deepEqual(mirror.faults, []);
  assert.ok(indexes.every(({ item }, n) => item.index === n));
  // Live again: what happens now comes too.
  await source.push({ n: COUNT });
  await until(() => mirror.size === COUNT + 1);
  await assertSameItems(world.rest, [list], [mirror]);
  t.diagnostic(
    `${COUNT} pushes in ${Math.round(written - started)} ms, ` +
      `catch-up in ${Math.round(caughtUp - written)} ms`,
  );
});

for (const count of [130, 2000]) {
  test(`${count} subscriptions share a connection and outlive a reconnect`, async (t) => {
    const { proxy, client } = await behindProxy(t);
    const documents = new Array(count);
    const started = performance.now();
    await inParallel(count, 100, async (n) => {
      documents[n] = await client.document({ data: { n } });
    });
    await subscribed(...documents);
    const opened = performance.now();
    const events = documents.map((document) => collect(document, "updated"));
    const write = (round) =>
      inParallel(count, 20, (n) =>
        world.rest.documents(documents[n].sid).update({ data: { n, round } }),
      );
    const told = (round) =>
      until(
        () => documents.every(({ data }) => data.round === round),
        () => `${documents.filter(({ data }) => data.round === round).length} of ${count}`,
        LONG_MS,
      );

    await write(1);
    await told(1);
    proxy.refusing = true;
    proxy.cut();
    await write(2);
    const written = performance.now();
    const again = subscribedAgain(...documents);
    proxy.refusing = false;
    await again;
    await told(2);
    const caughtUp = performance.now();
    await write(3);
    await told(3);
    for (const [n, list] of events.entries()) {
      assert.deepEqual(list.map(({ data }) => data), [1, 2, 3].map((round) => ({ n, round })));
    }
    t.diagnostic(
      `subscribed in ${Math.round(opened - started)} ms, ` +
        `caught up in ${Math.round(caughtUp - written)} ms`,
    );

    if (count === 2000) {
      const tooMany = await client.document();
      const failure = await waitForEvent(tooMany, "failure");
      assert.equal(failure.code, 54419, String(failure));
      await write(4);
      await told(4);
    }
  });
}

test("what is asked for at once over a link that stalls comes in the end", async (t) => {
  const COUNT = 300;
  const data = { text: "x".repeat(15_000) };
  const sids = new Array(COUNT);
  await inParallel(COUNT, 50, async (n) => {
    sids[n] = (await alice.document({ data })).sid;
  });
  const filled = await alice.map(unusedName());
  await inParallel(100, 50, (n) => filled.set(`k${n}`, data));

  const { proxy, client } = await behindProxy(t);
  proxy.hold("down");
  const documents = Promise.all(sids.map((sid) => client.document(sid)));
  const map = client.map({ id: filled.sid, mode: "open_existing", includeItems: true });
  // Long enough for all that the server would send.
  await pause(1_000);
  proxy.release("down");
  for (const document of await documents) {
    assert.deepEqual(document.data, data);
  }
  const items = await sdkItems(await map, { pageSize: 100 });
  assert.equal(Object.keys(items).length, 100);
  assert.equal(proxy.accepted, 1, "the connection was lost");
});
