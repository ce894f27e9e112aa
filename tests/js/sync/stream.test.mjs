// Stream: every method and event, between two identities.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { World, subscribed } from "../lib/clients.mjs";
import { unusedName } from "../lib/environment.mjs";
import { refused } from "../lib/refusals.mjs";
import { collect, until, waitForEvent } from "../lib/waiting.mjs";

const world = await World.open();
const alice = await world.connect("alice");
const bob = await world.connect("bob");
after(() => world.close());

/** One stream, open and subscribed at both clients. */
async function shared() {
  const id = unusedName("stream");
  const [mine, theirs] = [await alice.stream(id), await bob.stream(id)];
  await subscribed(mine, theirs);
  return { mine, theirs };
}

test("a message reaches everybody exactly once, its sender too", async () => {
  const { mine, theirs } = await shared();
  const [here, there] = [collect(mine, "messagePublished"), collect(theirs, "messagePublished")];
  const sent = await mine.publishMessage({ n: 1 });
  assert.match(sent.sid, /^TZ[0-9a-f]{32}$/);
  assert.deepEqual(sent.data, { n: 1 });
  await until(() => there.length === 1);
  // What would be told twice is told before the answer comes.
  const reply = await theirs.publishMessage({ n: 2 });
  await until(() => here.length === 2);
  const told = (message, isLocal) => ({ name: "messagePublished", isLocal, message: { ...message } });
  const plain = ({ sid, data }) => ({ sid, data });
  assert.deepEqual(here, [told(plain(sent), true), told(plain(reply), false)]);
  assert.deepEqual(there, [told(plain(sent), false), told(plain(reply), true)]);
});

test("messages of one sender keep their order", async () => {
  const { mine, theirs } = await shared();
  const [here, there] = [collect(mine, "messagePublished"), collect(theirs, "messagePublished")];
  await Promise.all(Array.from({ length: 300 }, (_, n) => mine.publishMessage({ n })));
  await until(() => there.length === 300);
  const numbers = Array.from({ length: 300 }, (_, n) => n);
  assert.deepEqual(there.map(({ message }) => message.data.n), numbers);
  assert.deepEqual(here.map(({ message }) => message.data.n), numbers);
  assert.equal(new Set(there.map(({ message }) => message.sid)).size, 300);
  assert.ok(here.every(({ isLocal }) => isLocal) && !there.some(({ isLocal }) => isLocal));
});

test("messages published through REST reach the clients", async () => {
  const { mine, theirs } = await shared();
  const told = [waitForEvent(mine, "messagePublished"), waitForEvent(theirs, "messagePublished")];
  const { sid } = await world.rest.syncStreams(mine.sid).streamMessages.create({ data: { n: 1 } });
  for (const { message, isLocal } of await Promise.all(told)) {
    assert.deepEqual([message.sid, message.data, isLocal], [sid, { n: 1 }, false]);
  }
});

test("a message that is too large is refused", async () => {
  const { mine, theirs } = await shared();
  const there = collect(theirs, "messagePublished");
  const largest = "x".repeat(4 * 1024 - '{"t":""}'.length);
  await refused(mine.publishMessage({ t: `${largest}y` }), 413, 54006);
  await mine.publishMessage({ t: largest });
  await until(() => there.length === 1);
  assert.equal(there[0].message.data.t, largest);
});

test("setTtl sets and clears the end of the stream", async () => {
  const { mine } = await shared();
  await mine.setTtl(300);
  const left = Date.parse(mine.dateExpires) - Date.now();
  assert.ok(left > 290_000 && left < 301_000, String(left));
  await mine.setTtl(0);
  assert.equal(mine.dateExpires, null);
  assert.equal((await world.rest.syncStreams(mine.sid).fetch()).dateExpires, null);
  await refused(mine.setTtl(31_536_001), 400, 54011);
});

test("removeStream removes it for everybody, once", async () => {
  const { mine, theirs } = await shared();
  const [here, there] = [collect(mine, "removed"), collect(theirs, "removed")];
  await mine.removeStream();
  await until(() => there.length === 1);
  assert.deepEqual(here, [{ name: "removed", isLocal: true }]);
  assert.deepEqual(there, [{ name: "removed", isLocal: false }]);
  await refused(bob.stream({ id: mine.sid, mode: "open_existing" }), 404, 54250);
  await assert.rejects(theirs.publishMessage({}), { status: 404 });
  assert.equal(there.length, 1);
});

test("a closed stream hears nothing", async () => {
  const { mine, theirs } = await shared();
  const carol = await world.connect("carol").then((client) => client.stream(mine.sid));
  await subscribed(carol);
  const [there, witness] = [collect(theirs, "messagePublished"), collect(carol, "messagePublished")];
  theirs.close();
  await mine.publishMessage({ n: 1 });
  await until(() => witness.length === 1);
  const reopened = await bob.stream(mine.sid);
  await subscribed(reopened);
  const told = waitForEvent(reopened, "messagePublished");
  await mine.publishMessage({ n: 2 });
  assert.deepEqual((await told).message.data, { n: 2 });
  assert.deepEqual(there, []);
});
