-- Permissions for more than one identity, and for a time. [starlings.core.access]

CREATE TABLE grants (
    oid        INTEGER NOT NULL,
    identity   TEXT NOT NULL,     -- an identity, the beginning of identities, or *
    match      INTEGER NOT NULL,  -- starlings.core.objects.Match: what the identity stands for
    may_read   INTEGER NOT NULL,
    may_write  INTEGER NOT NULL,
    may_manage INTEGER NOT NULL,
    expires_at INTEGER,           -- null: never
    PRIMARY KEY (oid, identity, match)
) STRICT, WITHOUT ROWID;
INSERT INTO grants SELECT oid, identity, 1, may_read, may_write, may_manage, NULL FROM permission;
DROP TABLE permission;
ALTER TABLE grants RENAME TO permission;
CREATE INDEX permission_pattern ON permission (oid) WHERE match > 1;
CREATE INDEX permission_expires ON permission (expires_at) WHERE expires_at IS NOT NULL;

-- Identities whose tokens issued up to a moment are good no longer.
CREATE TABLE revoked_identity (
    account_sid TEXT NOT NULL,
    identity    TEXT NOT NULL,
    revoked_at  INTEGER NOT NULL,
    PRIMARY KEY (account_sid, identity)
) STRICT, WITHOUT ROWID;
