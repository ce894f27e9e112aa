// Access tokens: refusals, expiry and renewal.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { World, connected, inState } from "../lib/clients.mjs";
import { NO_SUCH } from "../lib/environment.mjs";
import { collect, until, waitForEvent } from "../lib/waiting.mjs";

const world = await World.open();
const elsewhere = await World.open();
after(() => world.close());

async function denied(token, status, code) {
  const client = world.start(token);
  const errors = collect(client, "connectionError");
  await inState(client, "denied");
  const error = await until(() => errors.find(({ terminal }) => terminal));
  assert.deepEqual([error.httpStatusCode, error.errorCode], [status, code], error.message);
  await assert.rejects(client.document("x"));
  return client;
}

describe("a connection is denied", { concurrency: true }, () => {
  test("with something that is no token", () => denied("nonsense", 401, 20101));

  test("with a token that somebody else signed", () =>
    denied(world.token("eve", { secret: "x".repeat(32) }), 401, 20107));

  test("with a token of an unknown key", () =>
    denied(world.token("eve", { keySid: `SK${NO_SUCH}` }), 401, 20103));

  test("without a grant for Sync", () =>
    denied(world.token("eve", { serviceSid: null }), 401, 20106));

  test("for a service that does not exist", async () => {
    const client = world.start(world.token("eve", { serviceSid: `IS${NO_SUCH}` }));
    const { terminal } = await waitForEvent(client, "connectionError");
    assert.equal(terminal, true);
    await inState(client, "denied");
  });

  test("with an expired token, which is told apart", async () => {
    const token = world.token("eve", { ttl: -5 });
    const client = world.start(token);
    const expired = waitForEvent(client, "tokenExpired");
    const { httpStatusCode, errorCode, terminal } = await waitForEvent(client, "connectionError");
    assert.deepEqual([httpStatusCode, errorCode, terminal], [401, 20104, true]);
    await expired;
    await inState(client, "denied");
  });

  test("and allowed again with a good token", async () => {
    const client = await denied("nonsense", 401, 20101);
    await client.updateToken(world.token("eve"));
    await connected(client);
    assert.equal((await client.document("fine")).uniqueName, "fine");
  });
});

describe("tokens end", { concurrency: true }, () => {
  test("after a warning, at once when less than three minutes are left", async () => {
    const client = world.start(world.token("short", { ttl: 120 }));
    await waitForEvent(client, "tokenAboutToExpire", undefined, 5000);
    assert.equal(client.connectionState, "connected");
  });

  test("without a warning while there is time", async () => {
    const client = world.start(world.token("long", { ttl: 600 }));
    const warnings = collect(client, "tokenAboutToExpire", "tokenExpired");
    await connected(client);
    await client.document("long");
    assert.deepEqual(warnings, []);
  });

  test("with the connection, which a new token brings back with all that was missed", async () => {
    const client = world.start(world.token("ending", { ttl: 4 }));
    const document = await client.document({ id: "ending", data: { n: 0 } });
    const list = await client.list("ending");
    const events = [...[collect(document, "updated"), collect(list, "itemAdded")]];
    await waitForEvent(client, "tokenExpired", undefined, 8000);
    await inState(client, "denied");
    await assert.rejects(client.document("other"));

    await world.rest.documents("ending").update({ data: { n: 1 } });
    await world.rest.syncLists("ending").syncListItems.create({ data: { n: 2 } });
    await client.updateToken(world.token("ending"));
    await connected(client);
    await until(() => events.every(({ length }) => length === 1));
    assert.deepEqual(document.data, { n: 1 });
    assert.deepEqual((await list.get(0)).data, { n: 2 });
  });

  test("not, when they are renewed in time", async () => {
    const client = world.start(world.token("renewed", { ttl: 4 }));
    const states = collect(client, "connectionStateChanged");
    const ends = collect(client, "tokenExpired");
    await waitForEvent(client, "tokenAboutToExpire");
    await client.updateToken(world.token("renewed", { ttl: 6 }));
    // The second warning belongs to the second token.
    await waitForEvent(client, "tokenAboutToExpire");
    await client.updateToken(world.token("renewed", { ttl: 600 }));
    await new Promise((resolve) => setTimeout(resolve, 6500));
    assert.equal(client.connectionState, "connected");
    assert.deepEqual(ends, []);
    assert.equal(states.filter(({ value }) => value === "connected").length, 1);
  });

  test("not with the one that is in use already", async () => {
    const token = world.token("same");
    const client = world.start(token);
    await connected(client);
    await client.updateToken(token);
    assert.equal(client.connectionState, "connected");
  });
});

describe("a new token is refused", { concurrency: true }, () => {
  const cases = {
    "that is none": [() => "nonsense", 20101],
    "of another identity": [() => world.token("mallory"), 51215],
    "of another service": [() => elsewhere.token("grace"), 51215],
    "that has expired": [() => world.token("grace", { ttl: -5 }), 20104],
  };
  for (const [name, [make, code]] of Object.entries(cases)) {
    test(name, async () => {
      const client = await world.connect("grace");
      const failure = waitForEvent(client, "connectionError", ({ terminal }) => terminal);
      await assert.rejects(client.updateToken(make()), (error) => {
        assert.deepEqual([error.status, error.code], [400, 51130], String(error));
        return true;
      });
      const { httpStatusCode, errorCode } = await failure;
      assert.deepEqual([httpStatusCode, errorCode], [401, code]);
      await inState(client, "denied");
      await client.updateToken(world.token("grace"));
      await connected(client);
    });
  }
});
