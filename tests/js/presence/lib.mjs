// Switching presence on, and waiting until the presence Map tells what it should.

import assert from "node:assert/strict";
import { World } from "../lib/clients.mjs";
import { restUrl } from "../lib/environment.mjs";
import { until } from "../lib/waiting.mjs";

export const WINDOW_MS = 2000;

const login = Buffer.from(
  `${process.env.STARLINGS_TEST_ACCOUNT_SID}:${process.env.STARLINGS_TEST_AUTH_TOKEN}`,
).toString("base64");

/** POST …/Presence with these fields, or GET without. */
export async function presenceSettings(serviceSid, fields) {
  const answer = await fetch(`${restUrl}/v1/Services/${serviceSid}/Presence`, {
    method: fields ? "POST" : "GET",
    headers: { Authorization: `Basic ${login}` },
    body: fields && new URLSearchParams(fields),
  });
  return { status: answer.status, body: await answer.json() };
}

/** A service with presence and on-disconnect actions and a window of one second. */
export async function openWorld(options = {}) {
  const world = await World.open({
    reachabilityDebouncingEnabled: true,
    reachabilityDebouncingWindow: WINDOW_MS,
    ...options,
  });
  const { status } = await presenceSettings(world.serviceSid, {
    Enabled: "true",
    OnDisconnectEnabled: "true",
  });
  assert.equal(status, 200);
  return world;
}

/** The entry of an identity as this client's copy of the Map has it; undefined: none. */
export async function entry(map, identity) {
  try {
    return (await map.get(identity)).data;
  } catch (error) {
    if (error.status === 404) {
      return undefined;
    }
    throw error;
  }
}

/** Waits until the entry of an identity satisfies the predicate, and returns it. */
export async function entryThat(map, identity, predicate) {
  let seen;
  await until(
    async () => predicate((seen = await entry(map, identity))),
    () => `${identity}: ${JSON.stringify(seen)}`,
  );
  return seen;
}

export const isGone = (data) => data === undefined;
