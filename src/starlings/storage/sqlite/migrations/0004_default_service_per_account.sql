-- Every account has a default service of its own.

DROP INDEX service_name;
CREATE UNIQUE INDEX service_name ON service (account_sid, unique_name)
    WHERE unique_name IS NOT NULL;
