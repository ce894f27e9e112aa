// Orders to the process that owns the server: the pytest wrapper serves them over HTTP.

import { RESTART_PATIENCE_MS } from "./waiting.mjs";

/** Ends the server as a crash would (SIGKILL). */
export const killServer = () => order("kill");

/** Serves the same data directory again, on the same port; a running server is stopped first. */
export const restartServer = () => order("restart");

/** Keeps a copy of the server's database as it is now, instead of the one before. */
export const backUp = () => order("backup");

/** Stops the server and serves the copy, with a new epoch, on the same port. */
export const restore = () => order("restore");

async function order(what) {
  const url = process.env.STARLINGS_TEST_CONTROL_URL;
  const signal = AbortSignal.timeout(RESTART_PATIENCE_MS);
  const answer = await fetch(`${url}/${what}`, { method: "POST", signal });
  if (!answer.ok) {
    throw new Error(`${what}: ${answer.status} ${await answer.text()}`);
  }
}
