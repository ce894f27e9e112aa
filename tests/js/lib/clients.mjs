// SDK clients, unmodified, connected to the server under test with one option.

import { createRequire } from "node:module";
import { major as majorUnderTest, makeToken, newService, socketUrl } from "./environment.mjs";
import { until, waitForEvent } from "./waiting.mjs";

const require = createRequire(import.meta.url);
const PACKAGES = { 3: "twilio-sync-3", 4: "twilio-sync" };

/** Reconnects at once: waiting for the SDK's own second would only make the tests longer. */
const FAST_RETRIES = { min: 50, max: 500, randomness: 0.2 };

/** For clients that are on their way back when all is over; some have nowhere to go. */
const SETTLE_MS = 3000;

/** The SDK's module of one major version. */
export const sdk = (major = majorUnderTest) => require(PACKAGES[major]);

/**
 * A service of its own with the clients that are connected to it.
 *
 * One for each test file; `close` shuts every client down.
 */
export class World {
  #clients = new Set();

  constructor(service) {
    this.rest = service;
    this.serviceSid = service.sid;
  }

  static async open(options) {
    return new World(await newService(options));
  }

  token(identity, options = {}) {
    return makeToken(identity, { serviceSid: this.serviceSid, ...options });
  }

  /**
   * A client that may not be connected yet, or never will be.
   *
   * @param {number} [options.major] 3 or 4, else the one under test
   * @param {string} [options.url] a proxy's address, else the server's
   */
  start(token, { major, url = socketUrl, ...options } = {}) {
    const { SyncClient } = sdk(major);
    const client = new SyncClient(token, {
      Twilsock: { uri: url },
      retryPolicy: FAST_RETRIES,
      ...options,
    });
    this.#clients.add(client);
    return client;
  }

  /** A connected client; options as for `start`, and `ttl` of its token in seconds. */
  async connect(identity, { ttl, ...options } = {}) {
    const client = this.start(this.token(identity, { ttl }), options);
    await connected(client);
    return client;
  }

  async close() {
    await Promise.all([...this.#clients].map(async (client) => {
      // In Node a socket that is closed while it connects throws where nobody can catch it.
      const settled = until(() => client.connectionState !== "connecting", undefined, SETTLE_MS);
      await settled.catch(() => {});
      await client.shutdown();
    }));
  }
}

/** Waits until the client says that it is connected. */
export function connected(client) {
  return inState(client, "connected");
}

export function inState(client, state) {
  return until(
    () => client.connectionState === state,
    () => `the client is ${client.connectionState}, not ${state}`,
  );
}

/**
 * Waits until the server has confirmed the object's subscription.
 *
 * Events of streams are lost before, and `isLocal` of quick changes is only certain afterwards.
 */
export async function subscribed(...objects) {
  for (const object of objects) {
    const entity = Object.values(object).find((value) => value?.subscriptionState !== undefined);
    await until(
      () => entity.subscriptionState === "established",
      () => `the subscription of ${object.sid} is ${entity.subscriptionState}`,
    );
  }
}

/**
 * Waits until the objects have been subscribed anew; call it before the connection is cut.
 *
 * After a reconnect the SDK still shows the old subscriptions for a moment.
 */
export function subscribedAgain(...objects) {
  const again = (object) =>
    waitForEvent(object, "_subscriptionStateChanged", (state) => state === "established");
  return Promise.all(objects.map(again));
}
