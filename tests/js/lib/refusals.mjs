// The SDK's errors.

import assert from "node:assert/strict";

/** The promise must end in the SDK's own error with this status and code. */
export function refused(promise, status, code) {
  return assert.rejects(promise, (error) => {
    assert.deepEqual({ status: error.status, code: error.code }, { status, code }, String(error));
    assert.ok(["SyncError", "SyncNetworkError"].includes(error.name), error.name);
    assert.ok(error.message.length > 0);
    return true;
  });
}
