CREATE TABLE IF NOT EXISTS shared_value (
    namespace text NOT NULL,
    id text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (namespace, id)
);
CREATE INDEX IF NOT EXISTS shared_value_expiry ON shared_value (expires_at);

-- The last position of each log. Its row is locked while an entry is appended.
CREATE TABLE IF NOT EXISTS shared_log (
    log text COLLATE "C" PRIMARY KEY,
    last_position bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS shared_log_entry (
    log text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    -- After a restore from a backup, another entry gets the position, but not the mark.
    mark uuid NOT NULL DEFAULT gen_random_uuid(),
    entry bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (log, position)
);
CREATE INDEX IF NOT EXISTS shared_log_entry_expiry ON shared_log_entry (expires_at);
