-- Times are microseconds since the Unix epoch; JSON is text, as it was written.

CREATE TABLE dag (
    dag_id TEXT PRIMARY KEY,
    fileloc TEXT NOT NULL,
    version_hash TEXT NOT NULL,
    version_number BIGINT NOT NULL,
    is_paused BOOLEAN NOT NULL,
    is_active BOOLEAN NOT NULL,
    max_active_runs BIGINT NOT NULL,
    parsed_at BIGINT NOT NULL,
    schedule_epoch BIGINT NOT NULL DEFAULT 0,
    -- When the schedule wants attention: the smallest integer while the next run is not computed,
    -- null when there is none.
    due_at BIGINT,
    next_logical BIGINT,
    next_start BIGINT,
    next_end BIGINT,
    last_logical BIGINT,
    last_end BIGINT
);
CREATE INDEX dag_file ON dag (fileloc);
CREATE INDEX dag_due ON dag (due_at) WHERE is_active AND NOT is_paused AND due_at IS NOT NULL;

CREATE TABLE dag_version (
    version_hash TEXT PRIMARY KEY,
    dag_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    spec TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (dag_id, number)
);

CREATE TABLE import_error (
    fileloc TEXT PRIMARY KEY,
    message TEXT NOT NULL,
    line BIGINT,
    detail TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE dag_run (
    id UUID PRIMARY KEY,
    dag_id TEXT NOT NULL REFERENCES dag (dag_id),
    run_id TEXT NOT NULL,
    run_type TEXT NOT NULL,
    state TEXT NOT NULL,
    state_reason TEXT NOT NULL DEFAULT '',
    logical_date BIGINT,
    -- Logical date, else run_after: what "earlier run" is measured by.
    date_key BIGINT NOT NULL,
    interval_start BIGINT,
    interval_end BIGINT,
    run_after BIGINT NOT NULL,
    queued_at BIGINT NOT NULL,
    start_date BIGINT,
    end_date BIGINT,
    conf TEXT NOT NULL,
    version_hash TEXT NOT NULL,
    trace_parent TEXT NOT NULL,
    version BIGINT NOT NULL DEFAULT 0,
    UNIQUE (dag_id, run_id)
);
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
    run UUID NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id TEXT NOT NULL,
    map_index BIGINT NOT NULL,
    ord BIGINT NOT NULL,
    dag_id TEXT NOT NULL,
    state TEXT NOT NULL,
    try_number BIGINT NOT NULL DEFAULT 0,
    max_tries BIGINT NOT NULL,
    operator TEXT NOT NULL,
    queue TEXT NOT NULL,
    pool TEXT NOT NULL,
    pool_slots BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    token BIGINT NOT NULL DEFAULT 0,
    attempt_id UUID,
    not_before BIGINT,
    lost_count BIGINT NOT NULL DEFAULT 0,
    skip_requested BOOLEAN NOT NULL DEFAULT FALSE,
    queued_at BIGINT,
    start_date BIGINT,
    end_date BIGINT,
    worker TEXT NOT NULL DEFAULT '',
    hostname TEXT NOT NULL DEFAULT '',
    pid BIGINT NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (run, task_id, map_index)
);
-- What waits for a slot, by the groups that limits act on; and what holds one.
CREATE INDEX ti_scheduled ON task_instance (dag_id, run, pool, priority DESC, ord)
    WHERE state = 'scheduled';
CREATE INDEX ti_active ON task_instance (dag_id, run, task_id, pool, pool_slots)
    WHERE state IN ('queued', 'running');

CREATE TABLE attempt (
    id UUID PRIMARY KEY,
    run UUID NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id TEXT NOT NULL,
    map_index BIGINT NOT NULL,
    token BIGINT NOT NULL,
    try_number BIGINT NOT NULL,
    queued_at BIGINT NOT NULL,
    claimed_at BIGINT,
    lease_until BIGINT,
    -- When its lease was found expired; no heartbeat is accepted from then on.
    lost_at BIGINT,
    worker TEXT NOT NULL DEFAULT '',
    instance UUID,
    claim_nonce UUID,
    cancel BOOLEAN NOT NULL DEFAULT FALSE,
    outcome TEXT,
    digest TEXT NOT NULL DEFAULT '',
    ended_at BIGINT
);
CREATE UNIQUE INDEX attempt_live ON attempt (run, task_id, map_index) WHERE ended_at IS NULL;
CREATE INDEX attempt_run ON attempt (run, queued_at);
CREATE INDEX attempt_lease ON attempt (lease_until) WHERE ended_at IS NULL AND lease_until IS NOT NULL;

CREATE TABLE outbox (
    attempt UUID PRIMARY KEY REFERENCES attempt (id) ON DELETE CASCADE,
    queued_at BIGINT NOT NULL,
    sent_at BIGINT,
    sends BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX outbox_unsent ON outbox (queued_at) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;

CREATE TABLE xcom (
    run UUID NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id TEXT NOT NULL,
    map_index BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, task_id, map_index, key)
);

CREATE TABLE variable (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE log_chunk (
    attempt UUID NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (attempt, seq)
);

CREATE TABLE job (
    id UUID PRIMARY KEY,
    job_type TEXT NOT NULL,
    hostname TEXT NOT NULL,
    ended BOOLEAN NOT NULL,
    started_at BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL
);
CREATE INDEX job_newest ON job (heartbeat_at);

CREATE TABLE worker (
    worker TEXT PRIMARY KEY,
    instance UUID NOT NULL,
    hostname TEXT NOT NULL,
    queues TEXT NOT NULL,
    slots BIGINT NOT NULL,
    running BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL
);

CREATE TABLE signing_key (
    key TEXT PRIMARY KEY,
    added_at BIGINT NOT NULL
);

CREATE TABLE pool (
    name TEXT PRIMARY KEY,
    slots BIGINT NOT NULL
);
