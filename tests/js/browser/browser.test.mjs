// The official browser bundle, unmodified, in headless Chromium.
//
// Environment as in lib/environment.mjs, and STARLINGS_TEST_CHROMIUM (the program) and
// STARLINGS_TEST_SCRATCH (an empty folder for the profile and the screenshot).

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { after, test } from "node:test";
import { chromium } from "playwright-core";
import { World } from "../lib/clients.mjs";
import { major, socketUrl, unusedName } from "../lib/environment.mjs";
import { Proxy } from "../lib/proxy.mjs";
import { restItems } from "../lib/state.mjs";
import { until } from "../lib/waiting.mjs";

const HERE = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const BUNDLE = path.join(
  HERE,
  "../node_modules",
  major === 3 ? "twilio-sync-3" : "twilio-sync",
  "builds/twilio-sync.min.js",
);
const SCRATCH = process.env.STARLINGS_TEST_SCRATCH;
const CHROMIUM_ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const world = await World.open();
const site = await serveSite();
const browser = await chromium.launchPersistentContext(path.join(SCRATCH, "profile"), {
  executablePath: process.env.STARLINGS_TEST_CHROMIUM,
  args: CHROMIUM_ARGUMENTS,
});
after(async () => {
  await browser.close();
  site.close();
  site.closeAllConnections();
  await world.close();
});

/** The page and the bundle, as a web server of the application would serve them. */
async function serveSite() {
  const files = {
    "/": ["text/html", await readFile(path.join(HERE, "page.html"))],
    "/twilio-sync.min.js": ["text/javascript", await readFile(BUNDLE)],
  };
  const server = http.createServer((request, response) => {
    const [type, content] = files[request.url] ?? ["text/plain", ""];
    response.writeHead(content ? 200 : 404, { "content-type": type });
    response.end(content);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

const siteUrl = `http://127.0.0.1:${site.address().port}/`;

/** A tab on the page, not connected yet; what it complains about fails the test. */
async function openTab(t) {
  const tab = await browser.newPage();
  tab.complaints = [];
  tab.requests = [];
  tab.on("pageerror", (error) => tab.complaints.push(String(error)));
  tab.on("websocket", (socket) => {
    socket.on("framesent", ({ payload }) => {
      const [, method] = /"method":"(GET|POST|PUT|DELETE)"/.exec(payload) ?? [];
      const [, target] = /"path":"([^"]*)"/.exec(payload) ?? [];
      if (method) {
        tab.requests.push(`${method} ${target}`);
      }
    });
  });
  await tab.goto(siteUrl);
  t.after(async () => {
    await tab.close();
    assert.deepEqual(tab.complaints, []);
  });
  return tab;
}

async function start(tab, identity, url = socketUrl) {
  const token = world.token(identity);
  await tab.evaluate(([who, jwt, uri]) => globalThis.start(who, jwt, uri), [identity, token, url]);
  await inState(tab, "connected");
}

const open = (tab, names) => tab.evaluate(([one, other]) => globalThis.open(one, other), names);
const events = (tab) => tab.evaluate("events");
const documentOf = (tab) => tab.evaluate("doc.data");
const itemsOf = (tab) => tab.evaluate("items()");

function inState(tab, state) {
  return until(
    async () => (await tab.evaluate("client.connectionState")) === state,
    () => `the tab is not ${state}`,
  );
}

async function assertSame(names, ...tabs) {
  const { data } = await world.rest.documents(names[0]).fetch();
  const items = await restItems(world.rest.syncMaps(names[1]));
  for (const tab of tabs) {
    await until(async () => JSON.stringify(await documentOf(tab)) === JSON.stringify(data));
    assert.deepEqual(await itemsOf(tab), items);
  }
}

test("the browser runs the bundle of the major that was asked for", async (t) => {
  const tab = await openTab(t);
  const version = await tab.evaluate("Twilio.Sync.Client.version");
  assert.ok(version.startsWith(`${major}.`), version);
});

test("two tabs share a document and a map", async (t) => {
  const names = [unusedName("document"), unusedName("map")];
  const [one, other] = [await openTab(t), await openTab(t)];
  await Promise.all([start(one, "alice"), start(other, "bob")]);
  await open(one, names);
  await open(other, names);

  await one.evaluate("doc.set({ from: 'alice', text: 'héllo ☕ 😀' })");
  await until(async () => (await documentOf(other)).from === "alice");
  await other.evaluate("map.set('a/b%', { n: 1 })");
  await until(async () => (await events(one)).some(([name]) => name === "itemAdded"));
  await Promise.all([
    one.evaluate("map.mutate('count', ({ n = 0 }) => ({ n: n + 1 }))"),
    other.evaluate("map.mutate('count', ({ n = 0 }) => ({ n: n + 1 }))"),
  ]);
  await until(async () => (await itemsOf(one)).count?.n === 2);

  await assertSame(names, one, other);
  const updates = (list) => list.filter(([name]) => name === "updated");
  const data = { from: "alice", text: "héllo ☕ 😀" };
  assert.deepEqual(updates(await events(one)), [["updated", data, true]]);
  assert.deepEqual(updates(await events(other)), [["updated", data, false]]);
  const screenshot = path.join(SCRATCH, `two-tabs-${major}.png`);
  await other.screenshot({ path: screenshot });
  t.diagnostic(`screenshot: ${screenshot}`);
});

test("after a reload the cached state is shown and the rest is caught up", async (t) => {
  const names = [unusedName("document"), unusedName("map")];
  const tab = await openTab(t);
  await start(tab, "alice");
  await open(tab, names);
  await tab.evaluate("doc.set({ n: 1 })");
  await tab.evaluate("map.set('k', { n: 1 })");
  const stored = await tab.evaluate("Object.keys(sessionStorage).join()");
  assert.match(stored, new RegExp(`::document::${names[0]}`));

  await tab.goto("about:blank");
  await world.rest.documents(names[0]).update({ data: { n: 2 } });
  await world.rest.syncMaps(names[1]).syncMapItems("k").update({ data: { n: 2 } });
  await tab.goto(siteUrl);
  tab.requests.length = 0;
  await start(tab, "alice");
  assert.deepEqual(await open(tab, names), { n: 1 }, "not from the cache");
  await until(async () => (await documentOf(tab)).n === 2);

  const opened = tab.requests.filter((line) => /\/(Documents|Maps)(\/|$)/.test(line));
  // The items are read, the objects themselves are not.
  assert.ok(opened.length > 0 && opened.every((line) => line.endsWith("/Items")), opened.join());
  await assertSame(names, tab);
  const updates = (await events(tab)).filter(([name]) => name === "updated");
  assert.deepEqual(updates, [["updated", { n: 2 }, false]]);
});

test("another user of the same tab does not see what the first one cached", async (t) => {
  const names = [unusedName("document"), unusedName("map")];
  const tab = await openTab(t);
  await start(tab, "alice");
  await open(tab, names);
  await tab.goto("about:blank");
  await world.rest.documents(names[0]).update({ data: { n: 2 } });
  await tab.goto(siteUrl);
  tab.requests.length = 0;
  await start(tab, "bob");
  assert.deepEqual(await open(tab, names), { n: 2 });
  assert.ok(tab.requests.includes(`GET /v3/Documents/${names[0]}`), tab.requests.join());
});

test("an object that was removed during the reload is reported", async (t) => {
  const name = unusedName("document");
  const tab = await openTab(t);
  await start(tab, "alice");
  await tab.evaluate((id) => globalThis.client.document(id), name);
  await tab.goto("about:blank");
  await world.rest.documents(name).remove();
  await tab.goto(siteUrl);
  await start(tab, "alice");
  const removed = await tab.evaluate(async (id) => {
    const stale = await globalThis.client.document(id);
    return new Promise((resolve) => {
      stale.on("removed", ({ isLocal }) => resolve({ isLocal }));
    });
  }, name);
  assert.deepEqual(removed, { isLocal: false });
});

test("a tab that was offline catches up when it is online again", async (t) => {
  const names = [unusedName("document"), unusedName("map")];
  const tab = await openTab(t);
  await start(tab, "alice");
  await open(tab, names);
  await tab.evaluate("map.set('gone', {})");
  await browser.setOffline(true);
  try {
    await until(async () => (await tab.evaluate("client.connectionState")) !== "connected");
    await world.rest.documents(names[0]).update({ data: { n: 1 } });
    await world.rest.documents(names[0]).update({ data: { n: 2 } });
    const items = world.rest.syncMaps(names[1]).syncMapItems;
    await items.create({ key: "new", data: { n: 1 } });
    await items("gone").remove();
  } finally {
    await browser.setOffline(false);
  }
  await inState(tab, "connected");
  await until(async () => (await documentOf(tab)).n === 2);
  await until(async () => !("gone" in (await itemsOf(tab))));
  await assertSame(names, tab);
  assert.equal((await events(tab)).filter(([name]) => name === "itemRemoved").length, 1);
});

test("a tab whose connection is cut comes back by itself", async (t) => {
  const names = [unusedName("document"), unusedName("map")];
  const proxy = await Proxy.listen(socketUrl);
  t.after(() => proxy.close());
  const tab = await openTab(t);
  await start(tab, "alice", proxy.url);
  await open(tab, names);
  const items = world.rest.syncMaps(names[1]).syncMapItems;
  for (let round = 0; round < 5; round += 1) {
    proxy.cut();
    await items.create({ key: `k${round}`, data: { round } });
    await world.rest.documents(names[0]).update({ data: { round } });
    await until(async () => (await documentOf(tab)).round === round);
  }
  // Events first: an item that is read before its event is cached without one.
  const isAdded = ([name]) => name === "itemAdded";
  await until(async () => (await events(tab)).filter(isAdded).length >= 5);
  const added = (await events(tab)).filter(isAdded);
  await assertSame(names, tab);
  assert.deepEqual(added, [0, 1, 2, 3, 4].map((round) => ["itemAdded", `k${round}`, false]));
});
