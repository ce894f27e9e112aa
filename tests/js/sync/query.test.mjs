// InstantQuery and LiveQuery over maps. The language is described in docs/reference/queries.md.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { runSeed } from "../lib/chance.mjs";
import { World, subscribed, subscribedAgain } from "../lib/clients.mjs";
import { socketUrl, unusedName } from "../lib/environment.mjs";
import { Proxy } from "../lib/proxy.mjs";
import { refused } from "../lib/refusals.mjs";
import { collect, until, waitForEvent } from "../lib/waiting.mjs";

const WORKERS = {
  anna: { name: "Anna", team: "blue", skills: ["billing", "sales"], age: "41" },
  ben: { name: "Ben", team: "red", skills: ["support"], age: "29" },
  cleo: { name: "Cleo", team: "blue", skills: [], attributes: { languages: ["english"] } },
};

const world = await World.open();
const alice = await world.connect("alice");
const bob = await world.connect("bob");
after(() => world.close());

/** A map with the workers, and its unique name, which is the index. */
async function workers() {
  const index = unusedName("workers");
  const map = await alice.map(index);
  for (const [key, data] of Object.entries(WORKERS)) {
    await map.set(key, data);
  }
  return { index, map };
}

const only = (...keys) => Object.fromEntries(keys.map((key) => [key, WORKERS[key]]));

describe("InstantQuery", () => {
  const cases = {
    "": ["anna", "ben", "cleo"],
    'data.team == "blue"': ["anna", "cleo"],
    'team eq "blue" and name != "Anna"': ["cleo"],
    'data.skills CONTAINS "sale" OR key == "ben"': ["anna", "ben"],
    'data.skills IN ["sales", "support"]': ["anna", "ben"],
    'data.attributes.languages CONTAINS "english"': ["cleo"],
    '(team == "red" or team == "blue") and age > "30"': ["anna"],
    'data.team NOT IN ["blue"]': ["ben"],
    'data.nothing == "x"': [],
  };

  test("finds what its expression says", async () => {
    const { index } = await workers();
    const query = await bob.instantQuery(index);
    for (const [expression, keys] of Object.entries(cases)) {
      const result = waitForEvent(query, "searchResult");
      await query.search(expression);
      assert.deepEqual(await result, only(...keys), expression);
      assert.deepEqual(query.getItems(), only(...keys));
    }
  });

  test("sees changes only when it searches again", async () => {
    const { index, map } = await workers();
    const query = await bob.instantQuery(index);
    await query.search('team == "red"');
    await map.set("dora", { team: "red" });
    assert.deepEqual(query.getItems(), only("ben"));
    await query.search('team == "red"');
    assert.deepEqual(query.getItems(), { ...only("ben"), dora: { team: "red" } });
  });

  test("turns to another index", async () => {
    const [first, second] = [await workers(), await alice.map(unusedName("other"))];
    await second.set("k", { team: "green" });
    const query = await bob.instantQuery(first.index);
    query.updateIndexName(second.uniqueName);
    await query.search("");
    assert.deepEqual(query.getItems(), { k: { team: "green" } });
  });

  test("refuses what is no query", async () => {
    const { index } = await workers();
    const query = await bob.instantQuery(index);
    await refused(query.search('data.a = "x"'), 400, 54507);
    const operators = Array.from({ length: 16 }, () => 'a == "x"').join(" or ");
    await refused(query.search(operators), 400, 54509);
    const entries = Array.from({ length: 30 }, () => '"x"').join();
    await refused(query.search(`a in [${entries}]`), 400, 54510);
    await refused(query.subscribe(), 400, 54507);
    await refused((await bob.instantQuery(unusedName())).search(""), 400, 54502);
    await refused(bob.liveQuery(unusedName(), ""), 400, 54502);
    await refused(bob.liveQuery(index, "("), 400, 54507);
  });

  test("becomes a live query of its last expression", async () => {
    const { index, map } = await workers();
    const query = await bob.instantQuery(index);
    await query.search('team == "red"');
    const live = await query.subscribe();
    assert.deepEqual(live.getItems(), only("ben"));
    await subscribed(live);
    const told = waitForEvent(live, "itemUpdated");
    await map.set("dora", { team: "red" });
    assert.equal((await told).key, "dora");
    live.close();
  });
});

describe("LiveQuery", () => {
  test("follows items as they enter, change and leave", async () => {
    const { index, map } = await workers();
    const live = await bob.liveQuery(index, 'team == "blue"');
    assert.match(live.sid, /^[A-Z]{2}[0-9a-f]{32}$/);
    assert.deepEqual(live.getItems(), only("anna", "cleo"));
    await subscribed(live);
    const events = collect(live, "itemUpdated", "itemRemoved");

    await map.set("dora", { team: "blue" });
    await map.set("ben", { team: "blue", moved: true });
    await map.mutate("anna", (data) => ({ ...data, age: "42" }));
    await map.set("cleo", { team: "red" });
    await map.set("emil", { team: "red" });
    await map.remove("dora");
    await map.remove("emil");
    await map.set("fin", { team: "blue" });
    await until(() => events.some(({ key }) => key === "fin"));

    assert.deepEqual(
      events.map(({ name, key, value }) => [name, key, value]),
      [
        ["itemUpdated", "dora", { team: "blue" }],
        ["itemUpdated", "ben", { team: "blue", moved: true }],
        ["itemUpdated", "anna", { ...WORKERS.anna, age: "42" }],
        ["itemRemoved", "cleo", undefined],
        ["itemRemoved", "dora", undefined],
        ["itemUpdated", "fin", { team: "blue" }],
      ],
    );
    const expected = await bob.instantQuery(index);
    await expected.search('team == "blue"');
    assert.deepEqual(live.getItems(), expected.getItems());
  });

  test("follows changes made through REST", async () => {
    const { index, map } = await workers();
    const live = await bob.liveQuery(index, 'data.age > "3"');
    await subscribed(live);
    const items = world.rest.syncMaps(map.sid).syncMapItems;
    const updated = waitForEvent(live, "itemUpdated");
    await items("ben").update({ data: { age: "30" } });
    assert.deepEqual((await updated).value, { age: "30" });
    const removed = waitForEvent(live, "itemRemoved");
    await items("anna").remove();
    assert.deepEqual(await removed, { key: "anna" });
    assert.deepEqual(live.getItems(), { ben: { age: "30" } });
  });

  test("of the same expression twice works twice", async () => {
    const { index, map } = await workers();
    const [one, other] = [await bob.liveQuery(index, ""), await bob.liveQuery(index, "")];
    await subscribed(one, other);
    const events = [collect(one, "itemUpdated"), collect(other, "itemUpdated")];
    await map.set("dora", {});
    await until(() => events.every(({ length }) => length === 1));
    one.close();
    await map.set("emil", {});
    await until(() => events[1].length === 2);
    assert.equal(events[0].length, 1);
  });

  test("catches up after a reconnect", async () => {
    const { index, map } = await workers();
    const proxy = await Proxy.listen(socketUrl, { seed: runSeed });
    const carol = await world.connect("carol", { url: proxy.url });
    const live = await carol.liveQuery(index, 'team == "blue"');
    await subscribed(live);
    proxy.refusing = true;
    proxy.cut();
    await until(() => carol.connectionState !== "connected");
    await map.set("anna", { team: "red" });
    await map.remove("cleo");
    await map.set("dora", { team: "blue" });
    proxy.refusing = false;
    await until(() => "dora" in live.getItems() && !("anna" in live.getItems()));
    assert.deepEqual(live.getItems(), { dora: { team: "blue" } });
    const told = waitForEvent(live, "itemUpdated");
    await map.set("emil", { team: "blue" });
    assert.equal((await told).key, "emil");
    await carol.shutdown();
    await proxy.close();
  });

  test("of long expressions come back after a reconnect, and too many are refused", async () => {
    const { index, map } = await workers();
    const proxy = await Proxy.listen(socketUrl, { seed: runSeed });
    const carol = await world.connect("carol", { url: proxy.url });
    const sids = [...Array(29).keys()].map((n) => `"WK${String(n).padStart(32, "0")}"`).join(", ");
    const long = (n) => `name == "${n}"${` OR sid IN [${sids}]`.repeat(13)} OR team == "blue"`;
    const open = [];
    // Together they are longer than a message may be that isn't meant for them.
    for (let n = 0; n < 10; n += 1) {
      open.push(await carol.liveQuery(index, long(n)));
    }
    await refused(carol.liveQuery(index, long(10)), 413, 54006);
    await subscribed(...open);
    const again = subscribedAgain(...open);
    proxy.cut();
    await again;
    await map.set("dora", { team: "blue" });
    await until(() => open.every((query) => "dora" in query.getItems()));
    await carol.shutdown();
    await proxy.close();
  });
});
