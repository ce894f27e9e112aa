// Every combination of permissions between two identities, and what changes while clients listen.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { World, subscribed } from "../lib/clients.mjs";
import { restUrl, unusedName } from "../lib/environment.mjs";
import { refused } from "../lib/refusals.mjs";
import { collect, until, waitForEvent } from "../lib/waiting.mjs";

const world = await World.open({ aclEnabled: true });
const bob = await world.connect("bob");
const zoe = await world.connect("zoe");
/** Another connection of zoe's: what one has opened, the other has not. */
const zoe2 = await world.connect("zoe");
after(() => world.close());

const account = process.env.STARLINGS_TEST_ACCOUNT_SID;
const authorization = `Basic ${btoa(`${account}:${process.env.STARLINGS_TEST_AUTH_TOKEN}`)}`;

/** What no helper library sends goes by plain HTTP; flags are letters of "rwm". */
async function rest(method, path, form) {
  const answer = await fetch(`${restUrl}/v1${path}`, {
    method,
    headers: { authorization },
    body: form && new URLSearchParams(form),
  });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.status === 204 ? null : answer.json();
}

const flagsOf = (letters) => ({
  Read: letters.includes("r"),
  Write: letters.includes("w"),
  Manage: letters.includes("m"),
});

const kinds = {
  document: {
    plural: "Documents",
    open: (client, id) => client.document(id),
    writes: (own) => [() => own.set({ n: 1 }), () => own.setTtl(3600)],
    edits: (own) => [() => own.update({ n: 2 })],
    manages: () => [],
    remove: (own) => own.removeDocument(),
    event: "updated",
    cause: (theirs, n) => theirs.update({ n }),
  },
  list: {
    plural: "Lists",
    open: (client, id) => client.list(id),
    prepare: (theirs) => theirs.push({}),
    writes: (own) => [
      () => own.push({ n: 1 }),
    ],
    edits: (own) => [
      () => own.set(0, { n: 2 }),
      () => own.update(0, { n: 3 }),
      () => own.setItemTtl(0, 3600),
      () => own.remove(0),
    ],
    manages: (own) => [() => own.setTtl(3600)],
    remove: (own) => own.removeList(),
    event: "itemAdded",
    cause: (theirs, n) => theirs.push({ n }),
  },
  map: {
    plural: "Maps",
    open: (client, id) => client.map(id),
    prepare: (theirs) => theirs.set("k", {}),
    writes: (own) => [
      () => own.set("l", { n: 1 }),
      () => own.set("k", { n: 2 }),
    ],
    edits: (own) => [
      () => own.update("k", { n: 3 }),
      () => own.setItemTtl("k", 3600),
      () => own.remove("k"),
    ],
    manages: (own) => [() => own.setTtl(3600)],
    remove: (own) => own.removeMap(),
    event: "itemAdded",
    cause: (theirs, n) => theirs.set(`by-bob-${n}`, { n }),
  },
  stream: {
    plural: "Streams",
    open: (client, id) => client.stream(id),
    writes: (own) => [() => own.publishMessage({ n: 1 })],
    edits: () => [],
    manages: (own) => [() => own.setTtl(3600)],
    remove: (own) => own.removeStream(),
    event: "messagePublished",
    cause: (theirs, n) => theirs.publishMessage({ n }),
  },
};

/** An object that bob made, opened by bob and, if zoe may, by zoe. */
async function shared(kind, letters) {
  const id = unusedName(kind.plural);
  const theirs = await kind.open(bob, id);
  const path = `/Services/${world.serviceSid}/${kind.plural}/${id}/Permissions`;
  await kind.prepare?.(theirs);
  const grant = (form, who = "zoe") => rest("POST", `${path}/${who}`, form);
  await grant(flagsOf(letters));
  const mine = letters.includes("r") ? await kind.open(zoe, id) : null;
  await subscribed(theirs, ...(mine ? [mine] : []));
  const revoke = (who = "zoe", query = "") => rest("DELETE", `${path}/${who}${query}`);
  return { id, theirs, mine, grant, revoke };
}

const denied = (promise) => refused(promise, 403, 54007);
const isAllowed = (allowed, promise) => (allowed ? promise : denied(promise));

// Each kind by its own: permissions of one that end are waited for while others are tested.
describe("objects", { concurrency: true }, () => {
  for (const [name, kind] of Object.entries(kinds)) {
    describe(name, { concurrency: true }, () => {
      for (const letters of ["", "r", "w", "m", "rw", "rm", "wm", "rwm"]) {
        test(`with the rights "${letters}" just these are granted`, async () => {
          const { id, theirs, mine, grant } = await shared(kind, "rwm");
          const events = collect(mine, kind.event);
          const failure = letters.includes("r") ? null : waitForEvent(mine, "failure");
          await grant(flagsOf(letters));
          if (failure) {
            const { status, code } = await failure;
            assert.deepEqual([status, code], [403, 54007]);
          }
          await isAllowed(letters.includes("r"), kind.open(zoe2, id));
          for (const write of kind.writes(mine)) {
            await isAllowed(letters.includes("w"), write());
          }
          // Before these the SDK reads.
          if (letters.includes("r")) {
            for (const edit of kind.edits(mine)) {
              await isAllowed(letters.includes("w"), edit());
            }
          }
          for (const manage of kind.manages(mine)) {
            await isAllowed(letters.includes("m"), manage());
          }
          const isTheirs = (event) => (event.item ?? event.message ?? event).data?.n === 77;
          await kind.cause(theirs, 77);
          if (letters.includes("r")) {
            await until(() => events.filter(isTheirs).length === 1);
          }
          await isAllowed(letters.includes("m"), kind.remove(mine));
          assert.equal(events.filter(isTheirs).length, letters.includes("r") ? 1 : 0);
        });
      }

      test("a new grant lets a new subscription through", async () => {
        const { id, theirs, mine, grant, revoke } = await shared(kind, "r");
        const failed = waitForEvent(mine, "failure");
        await revoke();
        await failed;
        mine.close();
        await denied(kind.open(zoe, id));
        await grant(flagsOf("r"));
        const again = await kind.open(zoe, id);
        await subscribed(again);
        const told = waitForEvent(again, kind.event);
        await kind.cause(theirs, 5);
        await told;
      });

      test("who creates it may do everything, others nothing", async () => {
        const id = unusedName("created");
        const own = await kind.open(zoe, id);
        await denied(kind.open(bob, id));
        await kind.prepare?.(own);
        for (const step of [...kind.writes(own), ...kind.edits(own), ...kind.manages(own)]) {
          await step();
        }
        await kind.remove(own);
      });

      test("permissions for prefixes and everybody let in and shut out at once", async () => {
        const { id, mine, grant, revoke } = await shared(kind, "r");
        await grant({ ...flagsOf("r"), Match: "everybody" }, "*");
        await revoke();
        await (await kind.open(zoe2, id)).close();
        // Nobody's own any more, yet everybody's: the subscription has lived on.
        const failed = waitForEvent(mine, "failure");
        await grant({ ...flagsOf("w"), Match: "prefix" }, "zo");
        assert.equal((await failed).code, 54007);
        await denied(kind.open(zoe2, id));
        await revoke("zo", "?Match=prefix");
        await kind.open(zoe2, id);
      });

      test("a permission that ends takes the subscription along", async () => {
        const { mine, grant } = await shared(kind, "rw");
        const failed = waitForEvent(mine, "failure");
        const asked = performance.now();
        await grant({ ...flagsOf("r"), Ttl: 1 });
        const { status, code } = await failed;
        assert.deepEqual([status, code], [403, 54007]);
        const waited = performance.now() - asked;
        assert.ok(waited > 950 && waited < 2500, `${waited} ms after a grant for one second`);
      });
    });
  }
});

test("queries take the right to read", async () => {
  const { id, grant, revoke } = await shared(kinds.map, "wm");
  await denied(zoe.liveQuery(id, ""));
  const search = async () => (await zoe.instantQuery(id)).search("");
  await denied(search());
  await grant(flagsOf("r"));
  const live = await zoe.liveQuery(id, "");
  await search();
  await subscribed(live);
  const failed = waitForEvent(live, "failure");
  await revoke();
  assert.equal((await failed).code, 54007);
  await denied(search());
  await denied(zoe.liveQuery(id, ""));
});

test("the switch acts on what is subscribed to, both ways", async () => {
  const open = await World.open({ aclEnabled: false });
  const [owner, guest] = [await open.connect("owner"), await open.connect("guest")];
  const found = await Promise.all(
    Object.values(kinds).map(async (kind) => {
      const id = unusedName("switched");
      const theirs = await kind.open(owner, id);
      const mine = await kind.open(guest, id);
      await subscribed(theirs, mine);
      return { kind, id, theirs, mine };
    }),
  );
  const [, , map] = found;
  const live = await guest.liveQuery(map.id, "");
  await subscribed(live);
  const subscriptions = [live, ...found.map(({ mine }) => mine)];
  const failures = subscriptions.map((one) => waitForEvent(one, "failure"));
  await rest("POST", `/Services/${open.serviceSid}`, { AclEnabled: true });
  for (const { status, code } of await Promise.all(failures)) {
    assert.deepEqual([status, code], [403, 54007]);
  }
  for (const { kind, id, mine } of found) {
    mine.close();
    await denied(kind.open(guest, id));
  }
  await rest("POST", `/Services/${open.serviceSid}`, { AclEnabled: false });
  for (const { kind, id, theirs } of found) {
    const again = await kind.open(guest, id);
    await subscribed(again);
    const told = waitForEvent(again, kind.event);
    await kind.cause(theirs, 9);
    await told;
  }
  await open.close();
});
