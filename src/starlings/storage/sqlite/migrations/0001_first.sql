-- The first schema. All times are milliseconds since 1970, UTC; data are bytes of compact JSON.
-- Keys begin with the object id, so that the same tables can be spread over shards.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;  -- epoch: changes when the history was cut

CREATE TABLE account (
    sid               TEXT PRIMARY KEY,
    auth_token_sealed BLOB NOT NULL,  -- encrypted with the key that is kept outside the database
    created_at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key (
    sid           TEXT PRIMARY KEY,
    account_sid   TEXT NOT NULL,
    friendly_name TEXT,
    secret_sealed BLOB NOT NULL,
    created_at    INTEGER NOT NULL,
    revoked_at    INTEGER  -- null while the key is good
) STRICT, WITHOUT ROWID;

CREATE TABLE service (
    oid                       INTEGER PRIMARY KEY,
    sid                       TEXT NOT NULL,
    account_sid               TEXT NOT NULL,
    unique_name               TEXT,
    friendly_name             TEXT,
    created_at                INTEGER NOT NULL,
    updated_at                INTEGER NOT NULL,
    webhook_url               TEXT,
    has_webhooks_from_rest    INTEGER NOT NULL,
    has_reachability_webhooks INTEGER NOT NULL,
    has_acl                   INTEGER NOT NULL,
    has_debouncing            INTEGER NOT NULL,
    debouncing_window_ms      INTEGER NOT NULL
) STRICT;
CREATE INDEX service_created ON service (created_at, oid);
CREATE UNIQUE INDEX service_name ON service (unique_name) WHERE unique_name IS NOT NULL;

CREATE TABLE object (
    oid         INTEGER PRIMARY KEY,
    sid         TEXT NOT NULL,
    service_oid INTEGER NOT NULL,
    kind        INTEGER NOT NULL,
    unique_name TEXT,
    data        BLOB,              -- a document's data, a list's context
    seq         INTEGER NOT NULL,  -- of the newest event in its log
    event_id    INTEGER NOT NULL,  -- of the newest event that subscribers see
    next_index  INTEGER NOT NULL,
    item_count  INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    created_by  TEXT NOT NULL,
    is_removed  INTEGER NOT NULL   -- 1 until its rows are purged
) STRICT;
CREATE UNIQUE INDEX object_name ON object (service_oid, kind, unique_name)
    WHERE unique_name IS NOT NULL AND is_removed = 0;
CREATE INDEX object_created ON object (service_oid, kind, created_at, oid) WHERE is_removed = 0;
CREATE INDEX object_expires ON object (expires_at)
    WHERE expires_at IS NOT NULL AND is_removed = 0;
CREATE INDEX object_removed ON object (oid) WHERE is_removed = 1;

CREATE TABLE item (
    oid        INTEGER NOT NULL,
    key        ANY NOT NULL,      -- INTEGER index of a list item, TEXT key of a map item
    data       BLOB NOT NULL,
    event_id   INTEGER NOT NULL,  -- the event that last changed it
    added_id   INTEGER NOT NULL,  -- the event that added it
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER,
    created_by TEXT NOT NULL,
    PRIMARY KEY (oid, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX item_expires ON item (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE permission (
    oid        INTEGER NOT NULL,
    identity   TEXT NOT NULL,
    may_read   INTEGER NOT NULL,
    may_write  INTEGER NOT NULL,
    may_manage INTEGER NOT NULL,
    PRIMARY KEY (oid, identity)
) STRICT, WITHOUT ROWID;

-- The log. Rows are appended, and forgotten from the front: of each object a suffix is kept.
CREATE TABLE event (
    id         INTEGER PRIMARY KEY,
    oid        INTEGER NOT NULL,
    seq        INTEGER NOT NULL,  -- 1, 2, 3 ... for each object
    event_id   INTEGER NOT NULL,
    type       INTEGER NOT NULL,  -- starlings.core.events.EventType
    at         INTEGER NOT NULL,  -- by the clock then, which may have been wrong
    key        ANY,
    data       BLOB,
    expires_at INTEGER,
    identity   TEXT NOT NULL,
    endpoint   TEXT,
    request_id TEXT
) STRICT;
CREATE UNIQUE INDEX event_seq ON event (oid, seq);

-- Removed items whose removal the log has forgotten.
CREATE TABLE tombstone (
    oid      INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    key      ANY NOT NULL,
    data     BLOB,
    at       INTEGER NOT NULL,
    endpoint TEXT,
    PRIMARY KEY (oid, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstone_at ON tombstone (at);
