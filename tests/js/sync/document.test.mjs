// Document: every method and event, between two identities.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { World, subscribed } from "../lib/clients.mjs";
import { NO_SUCH, unusedName } from "../lib/environment.mjs";
import { refused } from "../lib/refusals.mjs";
import { assertSameDocument } from "../lib/state.mjs";
import { collect, until, waitForEvent } from "../lib/waiting.mjs";

const world = await World.open();
const alice = await world.connect("alice");
const bob = await world.connect("bob");
after(() => world.close());

/** One document, open and subscribed at both clients. */
async function shared(data = {}) {
  const id = unusedName("doc");
  const mine = await alice.document({ id, data });
  const theirs = await bob.document(id);
  await subscribed(mine, theirs);
  return { mine, theirs };
}

describe("set", () => {
  test("replaces the data here and there, and says who did it", async () => {
    const { mine, theirs } = await shared({ a: 1, b: 2 });
    const [here, there] = [collect(mine, "updated"), collect(theirs, "updated")];
    const before = mine.dateUpdated;

    assert.deepEqual(await mine.set({ a: 3 }), { a: 3 });
    await until(() => there.length === 1);

    const change = { name: "updated", data: { a: 3 }, previousData: { a: 1, b: 2 } };
    assert.deepEqual(there, [{ ...change, isLocal: false }]);
    assert.deepEqual(here, [{ ...change, isLocal: true }]);
    await assertSameDocument(world.rest, mine, theirs);
    assert.equal(theirs.revision, "1");
    assert.equal(theirs.lastEventId, mine.lastEventId);
    assert.ok(theirs.dateUpdated >= before);
    assert.ok(Math.abs(theirs.dateUpdated - mine.dateUpdated) < 1000);
  });

  test("is reported once to each, however many changes there are", async () => {
    const { mine, theirs } = await shared();
    const [here, there] = [collect(mine, "updated"), collect(theirs, "updated")];
    for (let n = 1; n <= 20; n += 1) {
      await (n % 2 ? mine : theirs).set({ n });
      // The SDK takes replies before events, and the older ones of these are news no more.
      await until(() => mine.data.n === n && theirs.data.n === n);
    }
    const numbers = (events) => events.map(({ data }) => data.n);
    assert.deepEqual(numbers(here), Array.from({ length: 20 }, (_, n) => n + 1));
    assert.deepEqual(numbers(there), numbers(here));
    assert.deepEqual(
      here.map(({ isLocal }) => isLocal),
      there.map(({ isLocal }) => !isLocal),
    );
    await assertSameDocument(world.rest, mine, theirs);
  });

  test("called many times at once ends with the last value", async () => {
    const { mine, theirs } = await shared();
    await Promise.all(Array.from({ length: 50 }, (_, n) => mine.set({ n })));
    assert.deepEqual(mine.data, { n: 49 });
    await assertSameDocument(world.rest, mine, theirs);
  });

  test("takes a time to live, which others are told", async () => {
    const { mine, theirs } = await shared();
    const told = waitForEvent(theirs, "updated");
    await mine.set({ n: 1 }, { ttl: 300 });
    await told;
    const left = Date.parse(mine.dateExpires) - Date.now();
    assert.ok(left > 290_000 && left < 301_000, String(left));
    const { dateExpires } = await world.rest.documents(mine.sid).fetch();
    assert.ok(Math.abs(dateExpires - Date.parse(mine.dateExpires)) < 1000);
  });

  test("keeps the data exactly", async () => {
    const { mine, theirs } = await shared();
    const values = [
      { "": "", "a b": { "😀": ["\u2028", "\u0000", "𝒳", "\"\\/"] } },
      { z: 1, a: 2, m: { 10: "x", 9: "y" } },
      { n: [0, -0.5, 1e21, 1.7976931348623157e308, 2 ** 53, 5e-324, -1], t: [true, false, null] },
      { nested: Array.from({ length: 30 }).reduce((inner) => ({ inner }), []) },
      {},
    ];
    for (const value of values) {
      const told = waitForEvent(theirs, "updated");
      await mine.set(value);
      assert.equal(JSON.stringify((await told).data), JSON.stringify(value));
      const fetched = await world.rest.documents(mine.sid).fetch();
      assert.deepEqual(fetched.data, value);
    }
  });

  test("is refused when it is too much, and changes nothing", async () => {
    const { mine, theirs } = await shared({ kept: true });
    const there = collect(theirs, "updated");
    const largest = "x".repeat(16 * 1024 - '{"t":""}'.length);
    await refused(mine.set({ t: `${largest}y` }), 413, 54006);
    assert.deepEqual(mine.data, { kept: true });
    await mine.set({ t: largest });
    await until(() => there.length === 1);
    assert.equal(there[0].data.t, largest);
  });
});

describe("mutate and update", () => {
  test("work on the present value", async () => {
    const { mine, theirs } = await shared({ n: 1, kept: "x" });
    assert.deepEqual(await mine.mutate(({ n, ...rest }) => ({ ...rest, n: n + 1 })), {
      kept: "x",
      n: 2,
    });
    await until(() => theirs.data.n === 2);
    assert.deepEqual(await theirs.update({ n: 3, more: true }), { n: 3, kept: "x", more: true });
    await assertSameDocument(world.rest, mine, theirs);
  });

  test("change nothing when the mutator returns nothing", async () => {
    const { mine } = await shared({ n: 1 });
    assert.deepEqual(await mine.mutate(() => null), { n: 1 });
    assert.equal((await world.rest.documents(mine.sid).fetch()).revision, "0");
  });

  test("lose no change when both clients mutate at once", async () => {
    const { mine, theirs } = await shared({ alice: 0, bob: 0 });
    let calls = 0;
    const raise = (document, who) =>
      document.mutate((data) => {
        calls += 1;
        return { ...data, [who]: data[who] + 1 };
      });
    await Promise.all(
      Array.from({ length: 25 }, () => [raise(mine, "alice"), raise(theirs, "bob")]).flat(),
    );
    await assertSameDocument(world.rest, mine, theirs);
    assert.deepEqual(mine.data, { alice: 25, bob: 25 });
    assert.ok(calls > 50, `no conflict in ${calls} calls: nothing was tested`);
    assert.equal(mine.revision, (50).toString(16));
  });

  test("take a time to live", async () => {
    const { mine } = await shared();
    await mine.mutate(() => ({ n: 1 }), { ttl: 300 });
    assert.ok(Date.parse(mine.dateExpires) > Date.now() + 290_000);
    await mine.update({ n: 2 }, { ttl: 0 });
    assert.equal(mine.dateExpires, null);
    assert.equal((await world.rest.documents(mine.sid).fetch()).dateExpires, null);
  });

  test("pass on what the mutator throws", async () => {
    const { mine } = await shared();
    await assert.rejects(
      mine.mutate(() => {
        throw new RangeError("no");
      }),
      RangeError,
    );
    assert.deepEqual(await mine.set({ n: 1 }), { n: 1 });
  });
});

describe("setTtl", () => {
  test("sets and clears the end of the document", async () => {
    const { mine } = await shared();
    await mine.setTtl(300);
    const left = Date.parse(mine.dateExpires) - Date.now();
    assert.ok(left > 290_000 && left < 301_000, String(left));
    await mine.setTtl(0);
    assert.equal(mine.dateExpires, null);
    assert.equal((await world.rest.documents(mine.sid).fetch()).dateExpires, null);
  });

  test("is refused beyond a year", async () => {
    const { mine } = await shared();
    await refused(mine.setTtl(31_536_001), 400, 54011);
  });
});

describe("removeDocument", () => {
  test("removes it for everybody, once", async () => {
    const { mine, theirs } = await shared({ last: "words" });
    const [here, there] = [collect(mine, "removed"), collect(theirs, "removed")];
    await mine.removeDocument();
    await until(() => there.length === 1);
    const gone = { name: "removed", previousData: { last: "words" } };
    assert.deepEqual(here, [{ ...gone, isLocal: true }]);
    assert.deepEqual(there, [{ ...gone, isLocal: false }]);

    await refused(theirs.set({}), 404, 54100);
    await refused(mine.removeDocument(), 404, 54100);
    await refused(alice.document({ id: mine.sid, mode: "open_existing" }), 404, 54100);
    await refused(bob.document({ id: mine.uniqueName, mode: "open_existing" }), 404, 54300);
    assert.equal(here.length + there.length, 2);
  });

  test("is noticed by a writer that was not told yet", async () => {
    const document = await alice.document();
    await world.rest.documents(document.sid).remove();
    await assert.rejects(document.set({ n: 1 }), { status: 404 });
    await refused(document.set({ n: 1 }), 404, 54100);
  });
});

test("a closed document hears nothing and does nothing", async () => {
  const { mine, theirs } = await shared();
  const there = collect(theirs, "updated", "removed");
  theirs.close();
  await mine.set({ n: 1 });
  const reopened = await bob.document(mine.sid);
  assert.deepEqual(reopened.data, { n: 1 });
  assert.deepEqual(there, []);
  await assert.rejects(async () => theirs.set({ n: 2 }));
});

test("two handles of one document share its state", async () => {
  const { mine, theirs } = await shared();
  const second = await bob.document(mine.sid);
  const events = [collect(theirs, "updated"), collect(second, "updated")];
  await mine.set({ n: 1 });
  await until(() => events.every(({ length }) => length === 1));
  theirs.close();
  await mine.set({ n: 2 });
  await until(() => second.data.n === 2);
  assert.deepEqual(events.map(({ length }) => length), [1, 2]);
});

test("the SDK's own checks pass what is right and stop what is wrong", async () => {
  const { mine } = await shared();
  await assert.rejects(async () => mine.set("text"));
  await assert.rejects(async () => mine.setTtl(-1));
  await assert.rejects(alice.document({ id: `ET${NO_SUCH}`, mode: "sometimes" }));
  assert.equal((await world.rest.documents(mine.sid).fetch()).revision, "0");
});
