-- What is looked for in large tables is found by an index, whatever else is in them.

-- An object's items and removals by event: what changed since the one that a client has.
CREATE INDEX item_changed ON item (oid, event_id);
CREATE INDEX event_removal ON event (oid, event_id) WHERE type = 7;

-- Services of an account by creation; those with a webhook.
CREATE INDEX service_of_account ON service (account_sid, created_at, oid);
CREATE INDEX service_webhook ON service (oid) WHERE webhook_url IS NOT NULL;

-- Dead letters by the moment from which their age counts.
CREATE INDEX webhook_dead_since ON webhook (coalesce(retried_at, at)) WHERE is_dead = 1;
