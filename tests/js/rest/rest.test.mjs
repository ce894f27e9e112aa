// The official Node helper library, unmodified, against a running server.
//
// Environment: STARLINGS_TEST_URL, STARLINGS_TEST_ACCOUNT_SID, STARLINGS_TEST_AUTH_TOKEN,
// STARLINGS_TEST_API_KEY_SID, STARLINGS_TEST_API_KEY_SECRET. Run by tests/e2e/test_rest_node.py.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import twilio from "twilio";

const { env } = process;
const NO_SUCH = "0123456789abcdef".repeat(2);

let unique = 0;
const unusedName = (stem) => `${stem}-${process.pid}-${unique++}`;

function connect(user, password, options) {
  const client = twilio(user, password, options);
  client.sync.baseUrl = env.STARLINGS_TEST_URL;
  return client;
}

function refused(promise, status, code) {
  return assert.rejects(promise, (error) => {
    assert.equal(error.status, status, String(error));
    assert.equal(error.code, code, String(error));
    assert.equal(error.moreInfo, `https://www.twilio.com/docs/errors/${code}`);
    assert.ok(error.message.length > 0);
    return true;
  });
}

let client;
let service;

before(async () => {
  client = connect(env.STARLINGS_TEST_ACCOUNT_SID, env.STARLINGS_TEST_AUTH_TOKEN);
  const created = await client.sync.v1.services.create({ friendlyName: "Node tests" });
  service = client.sync.v1.services(created.sid);
});

describe("services", () => {
  test("are created, fetched, updated, listed and removed", async () => {
    const created = await client.sync.v1.services.create({
      friendlyName: "Café",
      webhookUrl: "https://example.test/hook",
      aclEnabled: true,
      reachabilityWebhooksEnabled: true,
      reachabilityDebouncingEnabled: true,
      reachabilityDebouncingWindow: 2500,
      webhooksFromRestEnabled: true,
    });
    const one = client.sync.v1.services(created.sid);
    const fetched = await one.fetch();
    assert.match(fetched.sid, /^IS[0-9a-f]{32}$/);
    assert.equal(fetched.friendlyName, "Café");
    assert.equal(fetched.webhookUrl, "https://example.test/hook");
    assert.equal(fetched.aclEnabled, true);
    assert.equal(fetched.reachabilityDebouncingWindow, 2500);
    assert.equal(fetched.url, `${env.STARLINGS_TEST_URL}/v1/Services/${created.sid}`);
    assert.ok(fetched.dateCreated instanceof Date);
    assert.ok(Math.abs(fetched.dateCreated - Date.now()) < 5000);

    assert.equal((await one.update({ friendlyName: "Tea", aclEnabled: false })).aclEnabled, false);
    assert.equal((await one.update({ webhookUrl: "" })).webhookUrl, null);
    await refused(one.update(), 400, 54010);
    const listed = await client.sync.v1.services.list();
    assert.ok(listed.some((entry) => entry.sid === created.sid));
    assert.equal(await one.remove(), true);
    await refused(one.fetch(), 404, 54050);
  });

  test("are reached by the default alias and with an API key", async () => {
    const keyed = connect(
      env.STARLINGS_TEST_API_KEY_SID,
      env.STARLINGS_TEST_API_KEY_SECRET,
      { accountSid: env.STARLINGS_TEST_ACCOUNT_SID },
    );
    const fetched = await keyed.sync.v1.services("default").fetch();
    assert.equal(fetched.uniqueName, "default");
    assert.equal(fetched.accountSid, env.STARLINGS_TEST_ACCOUNT_SID);
  });

  test("are closed to wrong credentials", async () => {
    const stranger = connect(env.STARLINGS_TEST_ACCOUNT_SID, "wrong");
    await refused(stranger.sync.v1.services("default").fetch(), 401, 20003);
  });
});

describe("documents", () => {
  test("live through create, fetch, update and remove", async () => {
    const uniqueName = unusedName("doc");
    const created = await service.documents.create({ uniqueName, data: { text: "héllo ☕" } });
    assert.match(created.sid, /^ET[0-9a-f]{32}$/);
    assert.equal(created.revision, "0");
    assert.equal(created.createdBy, "system");
    assert.equal(created.dateExpires, null);
    assert.deepEqual(created.links, { permissions: `${created.url}/Permissions` });

    const byName = await service.documents(uniqueName).fetch();
    assert.equal(byName.sid, created.sid);
    assert.deepEqual(byName.data, { text: "héllo ☕" });
    const updated = await service.documents(created.sid).update({ data: { n: 1 } });
    assert.equal(updated.revision, "1");
    assert.deepEqual(updated.data, { n: 1 });

    const removed = await service.documents(created.sid).removeWithHttpInfo();
    assert.equal(removed.statusCode, 204);
    assert.equal(removed.body, true);
    await refused(service.documents(created.sid).fetch(), 404, 54100);
    await refused(service.documents(uniqueName).fetch(), 404, 54300);
  });

  test("obey If-Match", async () => {
    const { sid } = await service.documents.create();
    const document = service.documents(sid);
    assert.equal((await document.update({ data: { n: 1 }, ifMatch: "0" })).revision, "1");
    await refused(document.update({ data: { n: 2 }, ifMatch: "0" }), 412, 54103);
    await refused(document.update({ data: { n: 2 }, ifMatch: "newest" }), 400, 54003);
    assert.deepEqual((await document.fetch()).data, { n: 1 });
  });

  test("take a time to live", async () => {
    const created = await service.documents.create({ ttl: 3600 });
    assert.ok(Math.abs(created.dateExpires - (Date.now() + 3_600_000)) < 5000);
    // A created instance cannot update itself in twilio 6.2.0: it forgets its SID.
    assert.equal((await service.documents(created.sid).update({ ttl: 0 })).dateExpires, null);
    await refused(service.documents.create({ ttl: -1 }), 400, 54011);
  });

  test("refuse bad names and data", async () => {
    const uniqueName = unusedName("taken");
    await service.documents.create({ uniqueName });
    await refused(service.documents.create({ uniqueName }), 409, 54301);
    await refused(service.documents.create({ uniqueName: `ET${NO_SUCH}` }), 400, 54302);
    await refused(service.documents.create({ data: "scalar" }), 400, 54008);
    await refused(service.documents.create({ data: { t: "x".repeat(16384) } }), 413, 54006);
    await refused(service.documents(uniqueName).update(), 400, 54010);
  });
});

describe("lists", () => {
  test("live through create, fetch, update, list and remove", async () => {
    const uniqueName = unusedName("list");
    const created = await service.syncLists.create({ uniqueName, collectionTtl: 60 });
    assert.match(created.sid, /^ES[0-9a-f]{32}$/);
    assert.equal(created.revision, "0");
    assert.ok(created.dateExpires instanceof Date);
    assert.equal((await service.syncLists(uniqueName).update({ ttl: 0 })).dateExpires, null);
    assert.ok((await service.syncLists.list()).some((entry) => entry.sid === created.sid));
    assert.equal(await service.syncLists(created.sid).remove(), true);
    await refused(service.syncLists(created.sid).fetch(), 404, 54150);
  });

  test("count their items' events", async () => {
    const { sid } = await service.syncLists.create();
    const items = service.syncLists(sid).syncListItems;
    const first = await items.create({ data: { n: 0 } });
    const second = await items.create({ data: { n: 1 }, itemTtl: 60 });
    assert.deepEqual([first.index, first.revision], [0, "0"]);
    assert.deepEqual([second.index, second.revision], [1, "1"]);
    assert.equal((await service.syncLists(sid).fetch()).revision, "2");

    const item = service.syncLists(sid).syncListItems(0);
    assert.equal((await item.update({ data: { n: 2 }, ifMatch: "0" })).revision, "2");
    await refused(item.update({ data: {}, ifMatch: "0" }), 412, 54155);
    await refused(item.remove({ ifMatch: "0" }), 412, 54155);
    assert.deepEqual((await item.fetch()).data, { n: 2 });
    assert.equal((await item.removeWithHttpInfo({ ifMatch: "2" })).statusCode, 204);
    await refused(item.fetch(), 404, 54151);
    assert.equal((await items.create({ data: {} })).index, 2);
  });

  test("are paged in both orders, from anywhere", async () => {
    const { sid } = await service.syncLists.create();
    const items = service.syncLists(sid).syncListItems;
    for (let n = 0; n < 120; n++) await items.create({ data: { n } });
    const indexes = (page) => page.map((item) => item.index);
    const all = Array.from({ length: 120 }, (_, n) => n);

    assert.deepEqual(indexes(await items.list()), all);
    assert.deepEqual(indexes(await items.list({ pageSize: 7 })), all);
    assert.deepEqual(indexes(await items.list({ order: "desc" })), all.toReversed());
    assert.deepEqual(indexes(await items.list({ limit: 60 })), all.slice(0, 60));
    const options = { from: "100", bounds: "exclusive", pageSize: 3 };
    assert.deepEqual(indexes(await items.list(options)), all.slice(101));
    const seen = [];
    await new Promise((resolve, reject) => {
      items.each({
        pageSize: 50,
        callback: (item) => seen.push(item.index),
        done: (error) => (error ? reject(error) : resolve()),
      });
    });
    assert.deepEqual(seen, all);
    const page = await items.page({ pageSize: 10 });
    const next = await page.nextPage();
    assert.deepEqual(indexes(next.instances), all.slice(10, 20));
    assert.deepEqual(indexes((await next.previousPage()).instances), all.slice(0, 10));
    await refused(items.list({ order: "up" }), 400, 54451);
    await refused(items.list({ from: "x" }), 400, 54458);
  });
});

describe("maps", () => {
  test("live through create, fetch, update, list and remove", async () => {
    const uniqueName = unusedName("map");
    const created = await service.syncMaps.create({ uniqueName, ttl: 60 });
    assert.match(created.sid, /^MP[0-9a-f]{32}$/);
    assert.equal((await service.syncMaps(uniqueName).update({ ttl: 0 })).dateExpires, null);
    assert.ok((await service.syncMaps.list()).some((entry) => entry.sid === created.sid));
    assert.equal(await service.syncMaps(uniqueName).remove(), true);
    await refused(service.syncMaps(uniqueName).fetch(), 404, 54300);
    await refused(service.syncMaps(created.sid).fetch(), 404, 54200);
  });

  test("count their items' events", async () => {
    const { sid } = await service.syncMaps.create();
    const items = service.syncMaps(sid).syncMapItems;
    const created = await items.create({ key: "ключ 1", data: { n: 0 } });
    assert.deepEqual([created.key, created.revision], ["ключ 1", "0"]);
    await refused(items.create({ key: "ключ 1", data: {} }), 409, 54208);
    await refused(items.create({ key: "", data: {} }), 400, 54209);

    const item = service.syncMaps(sid).syncMapItems("ключ 1");
    assert.equal((await item.update({ data: { n: 1 } })).revision, "1");
    await refused(item.update({ data: {}, ifMatch: "0" }), 412, 54205);
    await refused(item.remove({ ifMatch: "0" }), 412, 54205);
    assert.equal(await item.remove({ ifMatch: "1" }), true);
    await refused(item.fetch(), 404, 54201);
    assert.equal((await service.syncMaps(sid).fetch()).revision, "3");
  });

  test("are paged in key order", async () => {
    const { sid } = await service.syncMaps.create();
    const items = service.syncMaps(sid).syncMapItems;
    const keys = Array.from({ length: 60 }, (_, n) => `k${(n * 7) % 60}`);
    for (const key of keys) await items.create({ key, data: { key } });
    keys.sort();

    const listed = async (options) => (await items.list(options)).map((item) => item.key);
    assert.deepEqual(await listed(), keys);
    assert.deepEqual(await listed({ pageSize: 9, order: "desc" }), keys.toReversed());
    assert.deepEqual(
      await listed({ from: "k3", bounds: "inclusive" }),
      keys.filter((key) => key >= "k3"),
    );
    assert.deepEqual(await listed({ limit: 5 }), keys.slice(0, 5));
  });
});

describe("streams", () => {
  test("live through create, message, update, list and remove", async () => {
    const uniqueName = unusedName("stream");
    const created = await service.syncStreams.create({ uniqueName });
    assert.match(created.sid, /^TO[0-9a-f]{32}$/);
    const { streamMessages } = service.syncStreams(uniqueName);
    const message = await streamMessages.create({ data: { x: 1.5 } });
    assert.match(message.sid, /^TZ[0-9a-f]{32}$/);
    assert.deepEqual(message.data, { x: 1.5 });
    await refused(streamMessages.create({ data: { t: "x".repeat(4096) } }), 413, 54006);
    const updated = await service.syncStreams(created.sid).update({ ttl: 60 });
    assert.ok(updated.dateExpires instanceof Date);
    assert.ok((await service.syncStreams.list()).some((entry) => entry.sid === created.sid));
    assert.equal(await service.syncStreams(created.sid).remove(), true);
    await refused(service.syncStreams(created.sid).fetch(), 404, 54250);
  });
});

describe("permissions", () => {
  for (const [objects, permissions] of [
    ["documents", "documentPermissions"],
    ["syncLists", "syncListPermissions"],
    ["syncMaps", "syncMapPermissions"],
  ]) {
    test(`of ${objects} are set, listed and removed`, async () => {
      const { sid } = await service[objects].create();
      const owner = service[objects](sid);
      const set = await owner[permissions]("alice").update({
        read: true,
        write: false,
        manage: true,
      });
      assert.deepEqual([set.read, set.write, set.manage], [true, false, true]);
      await owner[permissions]("bob").update({ read: true, write: true, manage: false });
      const listed = await owner[permissions].list({ pageSize: 1 });
      assert.deepEqual(listed.map((entry) => entry.identity), ["alice", "bob"]);
      assert.equal((await owner[permissions]("alice").fetch()).manage, true);
      assert.equal(await owner[permissions]("alice").remove(), true);
      await refused(owner[permissions]("alice").fetch(), 404, 54354);
    });
  }
});
