-- The outbox of webhooks: a row for each that has still to be delivered, written together with its
-- event, deleted once the target has answered. What was tried for too long stays as a dead letter.

CREATE TABLE webhook (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: the order of delivery
    service_oid INTEGER NOT NULL,
    lane        INTEGER NOT NULL,  -- order is kept within it: the object's oid, or an identity's
    type        TEXT NOT NULL,
    at          INTEGER NOT NULL,
    sid         TEXT,
    unique_name TEXT,
    event_id    INTEGER NOT NULL,
    key         ANY,
    data        BLOB,
    identity    TEXT NOT NULL,
    endpoint    TEXT,
    token       BLOB NOT NULL DEFAULT (randomblob(16)),  -- the same at each attempt
    attempts    INTEGER NOT NULL DEFAULT 0,
    due_at      INTEGER NOT NULL DEFAULT 0,  -- not to be tried before
    error       TEXT,                        -- why the last attempt failed
    retried_at  INTEGER,                     -- an operator's retry: its age counts from there
    is_dead     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX webhook_waiting ON webhook (service_oid, lane, id) WHERE is_dead = 0;
CREATE INDEX webhook_dead ON webhook (id) WHERE is_dead = 1;

-- Endpoints whose coming was told to a webhook, and whose going was not yet.
CREATE TABLE reached_endpoint (
    service_oid INTEGER NOT NULL,
    identity    TEXT NOT NULL,
    endpoint    TEXT NOT NULL,
    PRIMARY KEY (service_oid, identity, endpoint)
) STRICT, WITHOUT ROWID;
