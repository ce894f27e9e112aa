// A server with compression switched on: the SDK's own WebSocket agrees on it, unasked.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { World, connected, subscribed, subscribedAgain } from "../lib/clients.mjs";
import { socketUrl, unusedName } from "../lib/environment.mjs";
import { Proxy } from "../lib/proxy.mjs";
import { Mirror, assertSameItems } from "../lib/state.mjs";
import { waitForEvent } from "../lib/waiting.mjs";

const LARGE = { text: "what repeats itself gets smaller; ".repeat(400) };
const LARGE_BYTES = JSON.stringify(LARGE).length;

const world = await World.open();
let alice;
let bob;
/** Between bob and the server, to see how many bytes pass. */
let proxy;

before(async () => {
  proxy = await Proxy.listen(socketUrl);
  alice = await world.connect("alice");
  bob = await world.connect("bob", { url: proxy.url });
});

after(async () => {
  await world.close();
  await proxy.close();
});

/** A document that both have open. */
async function sharedDocument() {
  const mine = await alice.document({ id: unusedName(), data: { n: 0 } });
  const theirs = await bob.document(mine.sid);
  await subscribed(mine, theirs);
  return { mine, theirs };
}

test("an event comes compressed, and with the same data", async () => {
  const { mine, theirs } = await sharedDocument();
  const come = waitForEvent(theirs, "updated");
  const bytes = proxy.bytes.down;
  await mine.set(LARGE);
  await come;
  assert.ok(theirs.data.text === LARGE.text);
  assert.ok(proxy.bytes.down - bytes < LARGE_BYTES / 5, `${proxy.bytes.down - bytes} bytes came`);
});

test("what the client compresses is understood", async () => {
  const { mine, theirs } = await sharedDocument();
  const come = waitForEvent(mine, "updated");
  const bytes = proxy.bytes.up;
  await theirs.set(LARGE);
  await come;
  assert.ok(mine.data.text === LARGE.text);
  assert.ok(proxy.bytes.up - bytes < LARGE_BYTES / 5, `${proxy.bytes.up - bytes} bytes went`);
});

test("many events, small and large, come in order, also after a lost connection", async () => {
  const mine = await alice.list(unusedName());
  const theirs = await bob.list(mine.sid);
  await subscribed(mine, theirs);
  const mirrors = [new Mirror(mine), new Mirror(theirs)];
  for (let round = 0; round < 4; round += 1) {
    await Promise.all(
      Array.from({ length: 20 }, (_, n) => mine.push({ n, text: "ß😀".repeat(n * 50) })),
    );
    const again = subscribedAgain(theirs);
    proxy.cut();
    await mine.push({ round });
    await again;
    await connected(bob);
  }
  await assertSameItems(world.rest, [mine, theirs], mirrors);
});
