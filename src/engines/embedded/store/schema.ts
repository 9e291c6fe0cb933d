/** Written into the header of the file, so that another program's database is never taken for a store: 'cozb'. */
export const applicationId = 0x636f7a62

/**
 * One entry a version; `user_version` counts those that were applied. An entry that was released is never edited: a store
 * on somebody's disk has it.
 */
export const migrations: readonly string[] = [
  `
CREATE TABLE store(name TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE topic(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  last_seq INTEGER NOT NULL DEFAULT 0,
  messages INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  biggest INTEGER NOT NULL DEFAULT 0,
  age_ms INTEGER,
  most_messages INTEGER,
  most_bytes INTEGER,
  created_at INTEGER NOT NULL
);
CREATE INDEX topic_last ON topic(last_seq);

-- seq is one sequence for the whole store: the order across topics that share lanes.
-- stored_at is null where it is within a second of the publisher's time; name is null where it is the topic's.
CREATE TABLE message(
  seq INTEGER PRIMARY KEY,
  topic INTEGER NOT NULL,
  id TEXT NOT NULL,
  at INTEGER NOT NULL,
  stored_at INTEGER,
  name TEXT,
  key TEXT,
  headers TEXT,
  body BLOB NOT NULL,
  UNIQUE(topic, id)
);
CREATE INDEX message_topic ON message(topic);

-- Ids of messages that were deleted within the time in which the same id is stored once.
CREATE TABLE recent_id(topic INTEGER NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(topic, id)) WITHOUT ROWID;
CREATE INDEX recent_id_at ON recent_id(at);

CREATE TABLE scheduled(
  n INTEGER PRIMARY KEY,
  due INTEGER NOT NULL,
  topic INTEGER NOT NULL,
  id TEXT NOT NULL,
  at INTEGER NOT NULL,
  name TEXT,
  key TEXT,
  headers TEXT,
  body BLOB NOT NULL,
  UNIQUE(topic, id)
);
CREATE INDEX scheduled_due ON scheduled(due);

-- Groups whose sources share lanes: a key is in one member's hands over all of them.
CREATE TABLE lanes(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

-- Everything at or below cursor was settled, is leased, waits, or did not match the filter.
CREATE TABLE grp(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  topic INTEGER NOT NULL,
  name TEXT NOT NULL,
  filter TEXT,
  lanes INTEGER NOT NULL,
  cursor INTEGER NOT NULL,
  fence INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  UNIQUE(topic, name)
);
CREATE INDEX grp_lanes ON grp(lanes);

CREATE TABLE lease(
  grp INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  owner INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  until INTEGER NOT NULL,
  lanes INTEGER,
  key TEXT,
  PRIMARY KEY(grp, seq)
) WITHOUT ROWID;
CREATE INDEX lease_key ON lease(lanes, key) WHERE key IS NOT NULL;

-- Released, expired or passed over for their key. redelivered: somebody had it before.
CREATE TABLE waiting(
  grp INTEGER NOT NULL,
  due INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  redelivered INTEGER NOT NULL,
  lanes INTEGER,
  key TEXT,
  PRIMARY KEY(grp, due, seq)
) WITHOUT ROWID;
CREATE INDEX waiting_key ON waiting(lanes, key, seq) WHERE key IS NOT NULL;

CREATE TABLE process(id INTEGER PRIMARY KEY AUTOINCREMENT, lock TEXT NOT NULL, pid INTEGER NOT NULL, started_at INTEGER NOT NULL);
-- owner is the same for all sources of a subscription; leases name it.
CREATE TABLE member(id INTEGER PRIMARY KEY AUTOINCREMENT, owner INTEGER NOT NULL, grp INTEGER NOT NULL, process INTEGER NOT NULL, name TEXT NOT NULL);
CREATE INDEX member_grp ON member(grp);

CREATE TABLE record(n INTEGER PRIMARY KEY, space TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, UNIQUE(space, key));
-- What changed lately, for watchers in other processes.
CREATE TABLE record_change(n INTEGER PRIMARY KEY AUTOINCREMENT, space TEXT NOT NULL, key TEXT NOT NULL, at INTEGER NOT NULL);

CREATE TABLE kv_bucket(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, history INTEGER NOT NULL, ttl_ms INTEGER, revision INTEGER NOT NULL DEFAULT 0);
CREATE TABLE kv_entry(n INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, deleted INTEGER NOT NULL, at INTEGER NOT NULL, value BLOB NOT NULL, UNIQUE(bucket, revision));
CREATE INDEX kv_entry_key ON kv_entry(bucket, key, revision);

CREATE TABLE responder(id INTEGER PRIMARY KEY AUTOINCREMENT, process INTEGER NOT NULL, pattern TEXT NOT NULL, grp TEXT NOT NULL);
CREATE TABLE question(id INTEGER PRIMARY KEY AUTOINCREMENT, process INTEGER NOT NULL, name TEXT NOT NULL, message_id TEXT NOT NULL, at INTEGER NOT NULL, headers TEXT, body BLOB NOT NULL, until INTEGER NOT NULL);
CREATE TABLE question_taken(question INTEGER NOT NULL, grp TEXT NOT NULL, responder INTEGER NOT NULL, PRIMARY KEY(question, grp)) WITHOUT ROWID;
CREATE TABLE reply(question INTEGER PRIMARY KEY, headers TEXT, body BLOB NOT NULL);
`,
  `
-- A pattern's groups share lanes by the thousand, and each claim asks for their highest fence.
CREATE INDEX grp_fence ON grp(lanes, fence);
DROP INDEX grp_lanes;
-- Each name that is new looks for the definition that holds it.
CREATE INDEX topic_pattern ON topic(id) WHERE instr(name, '*') > 0;
`,
]
