// Access is taken away while events flow, some 500 a second: how long do they go on?
//
// Counted is what reaches the client's application: a second after the server has acknowledged the
// revocation there must be nothing any more. Another client sees that the events do flow.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { World, connected, inState, subscribed } from "../lib/clients.mjs";
import { restClient, restUrl, unusedName } from "../lib/environment.mjs";
import { pause, until } from "../lib/waiting.mjs";

const RATE = 500;
const BEFORE_MS = 500;
const AFTER_MS = 1300;
const ALLOWED_MS = 1000;
const TICK_MS = 10;
// Of the rate: so many events flow before and after, however long a busy machine takes for them.
const SHARE = 0.6;

const account = process.env.STARLINGS_TEST_ACCOUNT_SID;
const authorization = `Basic ${btoa(`${account}:${process.env.STARLINGS_TEST_AUTH_TOKEN}`)}`;
const all = { read: true, write: true, manage: true };

const world = await World.open({ aclEnabled: true });
const writer = await world.connect("writer");
const witness = await world.connect("witness");
after(() => world.close());

/** Sends events at the rate until told to stop; the number that were acknowledged. */
async function flow(send, isOver) {
  const started = performance.now();
  const pending = [];
  for (let sent = 0; !isOver(); await pause(TICK_MS)) {
    const due = ((performance.now() - started) / 1000) * RATE;
    for (; sent < due; sent += 1) {
      pending.push(send(sent));
    }
  }
  await Promise.all(pending);
  return { count: pending.length, seconds: (performance.now() - started) / 1000 };
}

/** When each event came. */
function clock(emitter, name) {
  const times = [];
  emitter.on(name, () => times.push(performance.now()));
  return times;
}

/** Lets events flow for a time, until the witness has seen as many as belong to it. */
async function letFlow(seen, ms) {
  const enough = seen.length + (SHARE * RATE * ms) / 1000;
  await pause(ms);
  await until(() => seen.length >= enough, () => `only ${seen.length} events flowed`);
}

/** Runs the flow, revokes in the middle of it, and prints what was counted. */
async function measure(t, send, listeners, seen, revoke) {
  let isOver = false;
  const flowing = flow(send, () => isOver);
  await letFlow(seen, BEFORE_MS);
  await revoke();
  const acknowledged = performance.now();
  await letFlow(seen, AFTER_MS);
  isOver = true;
  const { count, seconds } = await flowing;
  await until(() => seen.length === count, () => `the witness saw ${seen.length} of ${count}`);
  const figures = listeners.map(([name, times]) => {
    assert.ok(times.some((at) => at < acknowledged), `${name} got nothing at all`);
    const since = times.map((at) => at - acknowledged).filter((ms) => ms > 0);
    const late = since.filter((ms) => ms > ALLOWED_MS).length;
    const last = Math.max(0, ...since).toFixed(0);
    return { name, late, text: `${name}: ${since.length} since, last at ${last} ms, ${late} late` };
  });
  const texts = figures.map(({ text }) => text).join("; ");
  t.diagnostic(`${(count / seconds).toFixed(0)} events a second, ${texts}`);
  console.log(`FIGURES ${t.name}: ${(count / seconds).toFixed(0)} events a second; ${texts}`);
  assert.deepEqual(figures.filter(({ late }) => late > 0), []);
}

/** A Map that the reader listens to in two ways, and the witness too. */
async function watchedMap(reader, identity = "reader") {
  const map = await writer.map(unusedName("map"));
  const permissions = world.rest.syncMaps(map.sid).syncMapPermissions;
  await permissions("writer").update(all);
  await permissions("witness").update(all);
  await permissions(identity).update({ ...all, write: false, manage: false });
  const [mine, theirs] = [await reader.map(map.sid), await witness.map(map.sid)];
  const live = await reader.liveQuery(map.sid, "");
  await subscribed(mine, theirs, live);
  return {
    map,
    permission: permissions(identity),
    seen: clock(theirs, "itemAdded"),
    listeners: [
      ["map", clock(mine, "itemAdded")],
      ["live query", clock(live, "itemUpdated")],
    ],
    send: (n) => map.set(`k${n}`, { n }),
  };
}

describe("while events flow", { concurrency: false }, () => {
  test("a removed permission ends them", async (t) => {
    const reader = await world.connect("reader");
    const { send, listeners, seen, permission } = await watchedMap(reader);
    await measure(t, send, listeners, seen, () => permission.remove());
    assert.equal(reader.connectionState, "connected");
  });

  test("messages end too", async (t) => {
    const reader = await world.connect("reader");
    const stream = await writer.stream(unusedName("stream"));
    const path = `/Services/${world.serviceSid}/Streams/${stream.sid}/Permissions`;
    const rest = (method, who, body) =>
      fetch(`${restUrl}/v1${path}/${who}`, { method, headers: { authorization }, body });
    for (const who of ["reader", "witness"]) {
      await rest("POST", who, new URLSearchParams({ Read: "true" }));
    }
    const [mine, theirs] = [await reader.stream(stream.sid), await witness.stream(stream.sid)];
    await subscribed(mine, theirs);
    const listeners = [["stream", clock(mine, "messagePublished")]];
    const seen = clock(theirs, "messagePublished");
    const send = (n) => stream.publishMessage({ n });
    await measure(t, send, listeners, seen, async () => {
      assert.equal((await rest("DELETE", "reader")).status, 204);
    });
  });

  test("the switch of the service ends them", async (t) => {
    await restClient().services(world.serviceSid).update({ aclEnabled: false });
    const reader = await world.connect("stranger");
    const { send, listeners, seen, permission } = await watchedMap(reader, "stranger");
    await permission.remove();
    await measure(t, send, listeners, seen, () =>
      restClient().services(world.serviceSid).update({ aclEnabled: true }),
    );
  });

  test("the revocation of an identity ends them, its connections and its tokens", async (t) => {
    const reader = await world.connect("revoked");
    const { send, listeners, seen } = await watchedMap(reader, "revoked");
    await measure(t, send, listeners, seen, async () => {
      const url = `${restUrl}/v1/Identities/revoked/Revoke`;
      const answer = await fetch(url, { method: "POST", headers: { authorization } });
      assert.equal(answer.status, 200, await answer.text());
      await inState(reader, "denied");
    });
    // A second has passed: a new token is as good as ever.
    await reader.updateToken(world.token("revoked"));
    await connected(reader);
  });
});
