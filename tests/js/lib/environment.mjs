// Where the server under test listens and how to sign in to it.
//
// The wrappers tests/e2e/test_sync_sdk.py and tests/e2e/test_browser.py set the variables:
// STARLINGS_TEST_URL and STARLINGS_TEST_WS_URL, STARLINGS_TEST_ACCOUNT_SID and
// STARLINGS_TEST_AUTH_TOKEN, STARLINGS_TEST_API_KEY_SID and STARLINGS_TEST_API_KEY_SECRET,
// STARLINGS_TEST_MAJOR (3 or 4: which twilio-sync is tested), and for the fault tests
// STARLINGS_TEST_CONTROL_URL (lib/control.mjs).

import twilio from "twilio";

const { AccessToken } = twilio.jwt;
const { SyncGrant } = AccessToken;

export const restUrl = needed("STARLINGS_TEST_URL");
export const socketUrl = needed("STARLINGS_TEST_WS_URL");
export const major = Number(needed("STARLINGS_TEST_MAJOR"));

const accountSid = needed("STARLINGS_TEST_ACCOUNT_SID");
const apiKeySid = needed("STARLINGS_TEST_API_KEY_SID");
const apiKeySecret = needed("STARLINGS_TEST_API_KEY_SECRET");

/** Thirty-two digits of a SID that no server mints; a two-letter prefix goes before. */
export const NO_SUCH = "0123456789abcdef".repeat(2);

let names = 0;

/** A name that no other test of this process uses. */
export const unusedName = (stem = "name") => `${stem}-${names++}`;

function needed(variable) {
  const value = process.env[variable];
  if (!value) {
    throw new Error(`${variable} is not set; run this through pytest, see tests/e2e`);
  }
  return value;
}

/** The official REST helper, signed in with the account's token. */
export function restClient() {
  const client = twilio(accountSid, needed("STARLINGS_TEST_AUTH_TOKEN"));
  client.sync.baseUrl = restUrl;
  return client.sync.v1;
}

/**
 * A new service, so that files and repeated runs do not see each other's objects.
 *
 * @returns {Promise<object>} the helper's context of that service; its SID is under `.sid`
 */
export async function newService(options = {}) {
  const rest = restClient();
  const { sid } = await rest.services.create({ friendlyName: "SDK tests", ...options });
  const service = rest.services(sid);
  service.sid = sid;
  return service;
}

/**
 * An access token as an application's backend would make it.
 *
 * @param {number} [options.ttl] seconds; negative for a token that has expired
 * @param {string|null} [options.serviceSid] null leaves the grant out
 */
export function makeToken(
  identity,
  { serviceSid, ttl = 3600, keySid = apiKeySid, secret = apiKeySecret },
) {
  const token = new AccessToken(accountSid, keySid, secret, { identity, ttl });
  if (serviceSid !== null) {
    token.addGrant(new SyncGrant({ serviceSid }));
  }
  return token.toJwt();
}
