//! The driver's tables, made once.

use tokio_postgres::{Client, Error};

/// Serialises schema creation between processes; the number is ours alone.
const LOCK: i64 = 0x7472_6164_6577_0001;

const PRESENT: &str = "SELECT to_regclass('tradewind_result') IS NOT NULL \
    AND to_regclass('tradewind_inbox') IS NOT NULL \
    AND to_regclass('tradewind_inbox_reader') IS NOT NULL \
    AND to_regclass('tradewind_join_part') IS NOT NULL \
    AND to_regclass('tradewind_join_added') IS NOT NULL";

/// A taken item names its reader; it is free again as soon as that reader's row is gone, so that a
/// take-over is one small DELETE however much the dead reader held.
const CREATE: &str = "
CREATE TABLE IF NOT EXISTS tradewind_result (
    task_id text PRIMARY KEY,
    token bigint NOT NULL,
    state text NOT NULL,
    meta bytea NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS tradewind_result_expires_at ON tradewind_result (expires_at);
CREATE TABLE IF NOT EXISTS tradewind_inbox (
    id bigserial PRIMARY KEY,
    inbox text NOT NULL,
    body bytea NOT NULL,
    reader integer
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS tradewind_inbox_order ON tradewind_inbox (inbox, id);
CREATE TABLE IF NOT EXISTS tradewind_inbox_reader (
    reader integer PRIMARY KEY,
    inbox text NOT NULL,
    lease_until timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS tradewind_join (
    group_id text PRIMARY KEY,
    size bigint NOT NULL,
    claim text,
    claim_until timestamptz,
    done boolean NOT NULL DEFAULT false,
    expires_at timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS tradewind_join_part (
    group_id text NOT NULL,
    task_id text NOT NULL,
    place bigint NOT NULL,
    state text NOT NULL,
    result text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, task_id, place)
);
CREATE TABLE IF NOT EXISTS tradewind_join_added (
    group_id text NOT NULL,
    task_id text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, task_id)
);
";

/// Makes the tables exist. Safe to call from many processes at once, and without the right to
/// create tables when they are there.
pub(super) async fn ensure_schema(client: &mut Client) -> Result<(), Error> {
    if client.query_one(PRESENT, &[]).await?.get(0) {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    transaction.batch_execute(CREATE).await?;
    transaction.commit().await
}
