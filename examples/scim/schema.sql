CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    given_name TEXT NOT NULL,
    family_name TEXT NOT NULL,
    active INTEGER NOT NULL,
    -- What judge.rs goes by. A deleted user stays here, so that nothing older brings them back.
    changed_at INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    gone_since INTEGER,
    seen_in INTEGER NOT NULL
);

-- Each event that was handled: one that comes again changes nothing.
CREATE TABLE IF NOT EXISTS events (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    user_id TEXT,
    changed_user INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS syncs (
    number INTEGER PRIMARY KEY,
    since INTEGER NOT NULL,
    finished INTEGER NOT NULL DEFAULT 0
);
