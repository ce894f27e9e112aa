-- What waits for a service, oldest first, but for what an operator retried: so much of it may wait,
-- and the oldest of it is dropped for what comes on top.

CREATE INDEX webhook_bounded ON webhook (service_oid, id) WHERE is_dead = 0 AND retried_at IS NULL;
