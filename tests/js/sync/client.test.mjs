// SyncClient: opening objects in every mode, connection states and errors, shutdown.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { World, connected, inState, sdk } from "../lib/clients.mjs";
import { NO_SUCH, major, socketUrl, unusedName } from "../lib/environment.mjs";
import { Proxy } from "../lib/proxy.mjs";
import { refused } from "../lib/refusals.mjs";
import { collect, until, waitForEvent } from "../lib/waiting.mjs";

const world = await World.open();
const alice = await world.connect("alice");
const bob = await world.connect("bob");
after(() => world.close());

test("the SDK under test is the one that was asked for", () => {
  assert.ok(sdk().SyncClient.version.startsWith(`${major}.`));
});

const KINDS = [
  { kind: "document", prefix: "ET", code: 54100, rest: "documents" },
  { kind: "list", prefix: "ES", code: 54150, rest: "syncLists" },
  { kind: "map", prefix: "MP", code: 54200, rest: "syncMaps" },
  { kind: "stream", prefix: "TO", code: 54250, rest: "syncStreams" },
];

for (const { kind, prefix, code, rest } of KINDS) {
  describe(`opening a ${kind}`, () => {
    test("by name creates it once, and every client gets the same one", async () => {
      const id = unusedName(kind);
      const [first, second] = await Promise.all([alice[kind](id), bob[kind](id)]);
      assert.match(first.sid, new RegExp(`^${prefix}[0-9a-f]{32}$`));
      assert.equal(first.uniqueName, id);
      assert.equal(second.sid, first.sid);
      assert.equal((await world.rest[rest](id).fetch()).sid, first.sid);
      const again = await alice[kind]({ id, mode: "open_or_create" });
      assert.equal(again.sid, first.sid);
    });

    test("by SID, or by a name made through REST, finds it", async () => {
      const id = unusedName(kind);
      const { sid } = await world.rest[rest].create({ uniqueName: id });
      assert.equal((await alice[kind](id)).sid, sid);
      const bySid = await bob[kind]({ id: sid, mode: "open_existing" });
      assert.equal(bySid.sid, sid);
      assert.equal(bySid.uniqueName, id);
    });

    test("that must exist is refused when it does not", async () => {
      await refused(alice[kind]({ id: unusedName(), mode: "open_existing" }), 404, 54300);
      await refused(alice[kind]({ id: prefix + NO_SUCH, mode: "open_existing" }), 404, code);
    });

    test("that must be new is refused when the name is taken", async () => {
      const id = unusedName(kind);
      const created = await alice[kind]({ id, mode: "create_new" });
      await assert.rejects(bob[kind]({ id, mode: "create_new" }), (error) => {
        assert.deepEqual([error.status, error.code], [409, 54301]);
        assert.equal(error.name, "SyncNetworkError");
        assert.equal(error.body.code, 54301);
        return true;
      });
      assert.equal((await bob[kind](id)).sid, created.sid);
    });

    test("without a name makes a new one each time", async () => {
      const [one, other] = [await alice[kind](), await alice[kind]({})];
      assert.notEqual(one.sid, other.sid);
      assert.ok(!one.uniqueName);
      assert.equal((await bob[kind](one.sid)).sid, one.sid);
    });

    test("refuses names that are not names", async () => {
      await refused(alice[kind]({ id: prefix + NO_SUCH, mode: "create_new" }), 400, 54302);
      await refused(alice[kind]({ id: "x".repeat(321), mode: "create_new" }), 400, 54302);
      const longest = await alice[kind]({ id: "x".repeat(320), mode: "create_new" });
      assert.equal((await bob[kind]("x".repeat(320))).sid, longest.sid);
    });

    test("takes names with letters that mean something in URLs", async () => {
      for (const odd of ["a/b", "100%", "..", ".", "a+b", "a%2Fb", "a b", "?x=1&y#z", "ключ", "😀"]) {
        const id = `${odd}`;
        const opened = await alice[kind](id);
        assert.equal(opened.uniqueName, id);
        assert.equal((await bob[kind]({ id, mode: "open_existing" })).sid, opened.sid);
      }
    });

    test("with a time to live sets when it ends", async () => {
      const id = unusedName(kind);
      const opened = await alice[kind]({ id, ttl: 600 });
      const left = Date.parse(opened.dateExpires) - Date.now();
      assert.ok(left > 590_000 && left < 601_000, String(left));
      // It is for creation only.
      const existing = await bob[kind]({ id, ttl: 5 });
      assert.equal(Date.parse(existing.dateExpires), Date.parse(opened.dateExpires));
      await refused(alice[kind]({ ttl: 31_536_001 }), 400, 54011);
    });

    test("after it was removed makes another one", async () => {
      const id = unusedName(kind);
      const first = await alice[kind](id);
      const gone = waitForEvent(first, "removed");
      assert.equal(await world.rest[rest](first.sid).remove(), true);
      assert.equal((await gone).isLocal, false);
      assert.notEqual((await alice[kind](id)).sid, first.sid);
    });
  });
}

test("a document is opened with its first data", async () => {
  const id = unusedName();
  const document = await alice.document({ id, data: { a: [1, null, "x"] } });
  assert.deepEqual(document.data, { a: [1, null, "x"] });
  assert.deepEqual((await bob.document({ id, data: { other: true } })).data, { a: [1, null, "x"] });
  assert.deepEqual((await alice.document()).data, {});
});

test("creators are named", async () => {
  const [mine, theirs] = [await alice.document(), await bob.list()];
  assert.equal((await world.rest.documents(mine.sid).fetch()).createdBy, "alice");
  assert.equal((await world.rest.syncLists(theirs.sid).fetch()).createdBy, "bob");
});

test("a client reports how its connection comes and goes", async () => {
  const client = world.start(world.token("carol"));
  const states = collect(client, "connectionStateChanged");
  await connected(client);
  await client.document("carol");
  await client.shutdown();
  await inState(client, "disconnected");
  await until(() => states.at(-1).value === "disconnected");
  const seen = states.map(({ value }) => value);
  assert.ok(seen.includes("connected"), seen.join());
  assert.ok(!seen.includes("denied") && !seen.includes("error"), seen.join());
});

test("requests made before the connection is up are answered", async () => {
  const client = world.start(world.token("carol"));
  const opened = await Promise.all([client.document("early"), client.map("early"), client.list()]);
  assert.ok(opened.every(({ sid }) => sid.length === 34));
});

test("an unreachable server is reported, tried again and found", async () => {
  const proxy = await Proxy.listen(socketUrl);
  proxy.refusing = true;
  const client = world.start(world.token("carol"), { url: proxy.url });
  const error = await waitForEvent(client, "connectionError");
  assert.equal(error.terminal, false);
  assert.notEqual(client.connectionState, "connected");
  proxy.refusing = false;
  await connected(client);
  assert.equal((await client.document("found")).uniqueName, "found");
  await client.shutdown();
  await proxy.close();
});

test("one identity may have many connections, all told of the same changes", async () => {
  const clients = await Promise.all(Array.from({ length: 5 }, () => world.connect("twin")));
  const documents = await Promise.all(clients.map((client) => client.document("twins")));
  const events = documents.map((document) => collect(document, "updated"));
  await documents[0].set({ n: 1 });
  await until(() => events.every(({ length }) => length === 1));
  assert.deepEqual(
    events.map(([{ isLocal }]) => isLocal),
    [true, false, false, false, false],
  );
});

test("clients of both majors work on the same objects", async () => {
  const [three, four] = await Promise.all([
    world.connect("three", { major: 3 }),
    world.connect("four", { major: 4 }),
  ]);
  const [one, other] = await Promise.all([three.map("both"), four.map("both")]);
  const told = waitForEvent(other, "itemAdded");
  await one.set("k", { from: 3 });
  assert.deepEqual((await told).item.data, { from: 3 });
  await other.mutate("k", (data) => ({ ...data, and: 4 }));
  assert.deepEqual((await four.map("both").then((map) => map.get("k"))).data, { from: 3, and: 4 });
  await until(async () => (await one.get("k")).data.and === 4);
});

test("services do not see each other", async () => {
  const elsewhere = await World.open();
  const stranger = await elsewhere.connect("alice");
  const mine = await alice.document({ id: "private", data: { secret: true } });
  await refused(stranger.document({ id: "private", mode: "open_existing" }), 404, 54300);
  await refused(stranger.document({ id: mine.sid, mode: "open_existing" }), 404, 54100);
  assert.deepEqual((await stranger.document("private")).data, {});
  await elsewhere.close();
});

test("the default service is reached by its alias", async () => {
  const client = world.start(world.token("alice", { serviceSid: "default" }));
  await connected(client);
  const document = await client.document({ data: { n: 1 } });
  assert.deepEqual((await client.document(document.sid)).data, { n: 1 });
});

test("a client that was shut down leaves the others alone", async () => {
  const [passing, staying] = [await world.connect("dave"), await world.connect("dave")];
  const document = await staying.document("stay");
  await passing.document("stay");
  await passing.shutdown();
  await inState(passing, "disconnected");
  await assert.rejects(passing.document("more"));
  const told = waitForEvent(document, "updated");
  await alice.document("stay").then((theirs) => theirs.set({ n: 1 }));
  assert.deepEqual((await told).data, { n: 1 });
});
