// The official Node library accepts signed webhooks, and refuses what was changed on the way.
// The samples are made by tests/webhooks/test_signature.py.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import twilio from 'twilio';

const samples = JSON.parse(readFileSync(process.env.STARLINGS_TEST_SAMPLES, 'utf8'));

for (const { url, parameters, token, signature } of samples) {
  test(`a webhook to ${url} is accepted`, () => {
    assert.equal(twilio.validateRequest(token, signature, url, parameters), true);
  });
}

test('a changed parameter, URL or token is refused', () => {
  const { url, parameters, token, signature } = samples[0];
  assert.equal(twilio.validateRequest(token, signature, url, { ...parameters, EventId: '9' }), false);
  assert.equal(twilio.validateRequest(token, signature, `${url}x`, parameters), false);
  assert.equal(twilio.validateRequest(`${token}x`, signature, url, parameters), false);
});
