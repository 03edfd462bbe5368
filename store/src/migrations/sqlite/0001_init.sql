-- Times are microseconds since the Unix epoch; JSON is text, as it was written.

CREATE TABLE dag (
    dag_id TEXT PRIMARY KEY,
    fileloc TEXT NOT NULL,
    version_hash TEXT NOT NULL,
    version_number INTEGER NOT NULL,
    is_paused INTEGER NOT NULL,
    is_active INTEGER NOT NULL,
    max_active_runs INTEGER NOT NULL,
    parsed_at INTEGER NOT NULL,
    schedule_epoch INTEGER NOT NULL DEFAULT 0,
    -- When the schedule wants attention: the smallest integer while the next run is not computed,
    -- null when there is none.
    due_at INTEGER,
    next_logical INTEGER,
    next_start INTEGER,
    next_end INTEGER,
    last_logical INTEGER,
    last_end INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX dag_file ON dag (fileloc);
CREATE INDEX dag_due ON dag (due_at) WHERE is_active = 1 AND is_paused = 0 AND due_at IS NOT NULL;

CREATE TABLE dag_version (
    version_hash TEXT PRIMARY KEY,
    dag_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    spec TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (dag_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE import_error (
    fileloc TEXT PRIMARY KEY,
    message TEXT NOT NULL,
    line INTEGER,
    detail TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dag_run (
    id BLOB PRIMARY KEY,
    dag_id TEXT NOT NULL REFERENCES dag (dag_id),
    run_id TEXT NOT NULL,
    run_type TEXT NOT NULL,
    state TEXT NOT NULL,
    state_reason TEXT NOT NULL DEFAULT '',
    logical_date INTEGER,
    -- Logical date, else run_after: what "earlier run" is measured by.
    date_key INTEGER NOT NULL,
    interval_start INTEGER,
    interval_end INTEGER,
    run_after INTEGER NOT NULL,
    queued_at INTEGER NOT NULL,
    start_date INTEGER,
    end_date INTEGER,
    conf TEXT NOT NULL,
    version_hash TEXT NOT NULL,
    trace_parent TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    UNIQUE (dag_id, run_id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX dag_run_logical ON dag_run (dag_id, logical_date) WHERE logical_date IS NOT NULL;
CREATE INDEX dag_run_active ON dag_run (dag_id, state, run_after, queued_at)
    WHERE state IN ('queued', 'running');
CREATE INDEX dag_run_success ON dag_run (dag_id, date_key)
    WHERE state = 'success' AND interval_start IS NOT NULL;
CREATE INDEX dag_run_date ON dag_run (dag_id, date_key);
CREATE INDEX dag_run_newest ON dag_run (run_after, queued_at);
CREATE INDEX dag_run_newest_of_dag ON dag_run (dag_id, run_after, queued_at);
CREATE INDEX dag_run_newest_by_state ON dag_run (state, run_after, queued_at);

CREATE TABLE task_instance (
    run BLOB NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    ord INTEGER NOT NULL,
    dag_id TEXT NOT NULL,
    state TEXT NOT NULL,
    try_number INTEGER NOT NULL DEFAULT 0,
    max_tries INTEGER NOT NULL,
    operator TEXT NOT NULL,
    queue TEXT NOT NULL,
    pool TEXT NOT NULL,
    pool_slots INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    attempt_id BLOB,
    not_before INTEGER,
    lost_count INTEGER NOT NULL DEFAULT 0,
    skip_requested INTEGER NOT NULL DEFAULT 0,
    queued_at INTEGER,
    start_date INTEGER,
    end_date INTEGER,
    worker TEXT NOT NULL DEFAULT '',
    hostname TEXT NOT NULL DEFAULT '',
    pid INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (run, task_id, map_index)
) STRICT, WITHOUT ROWID;
-- What waits for a slot, by the groups that limits act on; and what holds one.
CREATE INDEX ti_scheduled ON task_instance (dag_id, run, pool, priority DESC, ord)
    WHERE state = 'scheduled';
CREATE INDEX ti_active ON task_instance (dag_id, run, task_id, pool, pool_slots)
    WHERE state IN ('queued', 'running');

CREATE TABLE attempt (
    id BLOB PRIMARY KEY,
    run BLOB NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    token INTEGER NOT NULL,
    try_number INTEGER NOT NULL,
    queued_at INTEGER NOT NULL,
    claimed_at INTEGER,
    lease_until INTEGER,
    -- When its lease was found expired; no heartbeat is accepted from then on.
    lost_at INTEGER,
    worker TEXT NOT NULL DEFAULT '',
    instance BLOB,
    claim_nonce BLOB,
    cancel INTEGER NOT NULL DEFAULT 0,
    outcome TEXT,
    digest TEXT NOT NULL DEFAULT '',
    ended_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX attempt_live ON attempt (run, task_id, map_index) WHERE ended_at IS NULL;
CREATE INDEX attempt_run ON attempt (run, queued_at);
CREATE INDEX attempt_lease ON attempt (lease_until) WHERE ended_at IS NULL AND lease_until IS NOT NULL;

CREATE TABLE outbox (
    attempt BLOB PRIMARY KEY REFERENCES attempt (id) ON DELETE CASCADE,
    queued_at INTEGER NOT NULL,
    sent_at INTEGER,
    sends INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_unsent ON outbox (queued_at) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;

CREATE TABLE xcom (
    run BLOB NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, task_id, map_index, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE variable (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE log_chunk (
    attempt BLOB NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (attempt, seq)
) STRICT;

CREATE TABLE job (
    id BLOB PRIMARY KEY,
    job_type TEXT NOT NULL,
    hostname TEXT NOT NULL,
    ended INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX job_newest ON job (heartbeat_at);

CREATE TABLE worker (
    worker TEXT PRIMARY KEY,
    instance BLOB NOT NULL,
    hostname TEXT NOT NULL,
    queues TEXT NOT NULL,
    slots INTEGER NOT NULL,
    running INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_key (
    key TEXT PRIMARY KEY,
    added_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pool (
    name TEXT PRIMARY KEY,
    slots INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
