// Waiting for events and conditions, always with a deadline, and collecting what was emitted.

import { setTimeout as pause } from "node:timers/promises";

const POLL_MS = 5;

/** Far beyond what anything here takes while the server runs. */
export const PATIENCE_MS = 20_000;

/** For what spans a backup, a restore or a restart: on a busy machine each takes ten seconds. */
export const RESTART_PATIENCE_MS = 60_000;

export { pause };

/**
 * The argument of the first event that satisfies the predicate.
 *
 * Call it before the cause of the event; the SDK replays nothing to late listeners of objects.
 */
export function waitForEvent(emitter, name, predicate = () => true, timeoutMs = PATIENCE_MS) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      emitter.removeListener(name, listen);
      reject(new Error(`no matching "${name}" event within ${timeoutMs} ms`));
    }, timeoutMs);
    function listen(argument) {
      if (predicate(argument)) {
        clearTimeout(timer);
        emitter.removeListener(name, listen);
        resolve(argument);
      }
    }
    emitter.on(name, listen);
  });
}

/**
 * The promise's outcome, or an error that says what was being waited for.
 *
 * Without a deadline a call that never ends would end the whole run, which can't say where it was.
 *
 * @param {() => string} describe what has not ended
 */
export async function within(promise, describe, timeoutMs = PATIENCE_MS) {
  const over = new AbortController();
  const late = pause(timeoutMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`not within ${timeoutMs} ms: ${describe()}`);
  });
  late.catch(() => {}); // it is called off
  try {
    return await Promise.race([promise, late]);
  } finally {
    over.abort();
  }
}

/**
 * Waits until the condition holds.
 *
 * @param {() => unknown} condition may be asynchronous, and is itself given the time that is left
 * @param {() => string} [describe] what to say when it never did
 */
export async function until(condition, describe = () => String(condition), timeoutMs = PATIENCE_MS) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const left = Math.max(1, deadline - performance.now());
    const value = await within(condition(), () => `no answer from ${condition}`, left);
    if (value) {
      return value;
    }
    if (performance.now() > deadline) {
      throw new Error(`not within ${timeoutMs} ms: ${describe()}`);
    }
    await pause(POLL_MS);
  }
}

/**
 * Everything that the emitter says from now on, in order, as `{name, ...}` with plain values.
 *
 * Items are copied when they are reported, for the SDK may change them later.
 */
export function collect(emitter, ...names) {
  const events = [];
  for (const name of names) {
    emitter.on(name, (argument) => events.push({ name, ...plain(argument) }));
  }
  return events;
}

function plain(argument) {
  if (typeof argument !== "object" || argument === null) {
    return { value: argument };
  }
  const { item, message, ...rest } = argument;
  if (item) {
    const { index, key, data, revision, lastEventId } = item;
    rest.item = { ...(key === undefined ? { index } : { key }), data, revision, lastEventId };
  }
  if (message) {
    rest.message = { sid: message.sid, data: message.data };
  }
  return structuredClone(rest);
}

/** The collected events without what differs between runs: revisions and event ids of items. */
export function brief(events) {
  return events.map(({ item, ...rest }) => {
    if (!item) {
      return rest;
    }
    const { revision, lastEventId, ...kept } = item;
    return { ...rest, item: kept };
  });
}
