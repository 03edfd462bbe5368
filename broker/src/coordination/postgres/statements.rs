//! Tables and statements of the postgres driver. All times are the server's.

/// Serialises schema creation between processes; the number is ours alone.
pub(super) const SCHEMA_LOCK: i64 = 0x7472_6164_6577_0002;

pub(super) const PRESENT: &str = "SELECT to_regclass('tradewind_revoked') IS NOT NULL \
    AND to_regclass('tradewind_rate') IS NOT NULL AND to_regclass('tradewind_place') IS NOT NULL \
    AND to_regclass('tradewind_unique') IS NOT NULL AND to_regclass('tradewind_start') IS NOT NULL \
    AND to_regclass('tradewind_beat') IS NOT NULL";

pub(super) const CREATE: &str = "
CREATE TABLE IF NOT EXISTS tradewind_revoked (
    task_id text PRIMARY KEY, terminate boolean NOT NULL,
    mark bigserial NOT NULL, expires_at timestamptz NOT NULL);
CREATE INDEX IF NOT EXISTS tradewind_revoked_mark ON tradewind_revoked (mark);
CREATE TABLE IF NOT EXISTS tradewind_rate (
    key text PRIMARY KEY, tokens double precision NOT NULL, counted_at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS tradewind_place (
    key text NOT NULL, holder text NOT NULL, expires_at timestamptz NOT NULL,
    PRIMARY KEY (key, holder));
CREATE TABLE IF NOT EXISTS tradewind_unique (
    key text PRIMARY KEY, holder text NOT NULL, expires_at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS tradewind_start (
    id bigserial PRIMARY KEY, task_id text NOT NULL, worker text NOT NULL,
    expires_at timestamptz NOT NULL);
CREATE INDEX IF NOT EXISTS tradewind_start_task ON tradewind_start (task_id, id);
CREATE TABLE IF NOT EXISTS tradewind_beat (entry text PRIMARY KEY, sent_us bigint NOT NULL);
";

/// Drops what is over. One statement per table, by its time column.
pub(super) const SWEEPS: [&str; 5] = [
    "DELETE FROM tradewind_revoked WHERE expires_at <= clock_timestamp()",
    "DELETE FROM tradewind_place WHERE expires_at <= clock_timestamp()",
    "DELETE FROM tradewind_unique WHERE expires_at <= clock_timestamp()",
    "DELETE FROM tradewind_start WHERE expires_at <= clock_timestamp()",
    // A bucket that nobody has asked for a day is full, unless its rate is below one a day.
    "DELETE FROM tradewind_rate WHERE counted_at <= clock_timestamp() - interval '7 days'",
];

/// $1 ids, $2 whether to kill, $3 ttl in microseconds.
pub(super) const REVOKE: &str = "
INSERT INTO tradewind_revoked AS r (task_id, terminate, expires_at)
SELECT task_id, bool_or(terminate), clock_timestamp() + $3::bigint * interval '1 microsecond'
FROM unnest($1::text[], $2::boolean[]) WITH ORDINALITY AS t (task_id, terminate, place)
GROUP BY task_id ORDER BY max(place)
ON CONFLICT (task_id) DO UPDATE SET mark = excluded.mark,
    terminate = excluded.terminate OR (r.terminate AND r.expires_at > clock_timestamp()),
    expires_at = greatest(r.expires_at, excluded.expires_at)";
/// $1 most that are kept.
pub(super) const REVOKED_TRIM: &str = "
DELETE FROM tradewind_revoked WHERE mark <= (
    SELECT mark FROM tradewind_revoked ORDER BY mark DESC OFFSET $1 LIMIT 1)";
pub(super) const ARE_REVOKED: &str = "
SELECT r.task_id IS NOT NULL FROM unnest($1::text[]) WITH ORDINALITY AS t (id, place)
LEFT JOIN tradewind_revoked r ON r.task_id = t.id AND r.expires_at > clock_timestamp()
ORDER BY t.place";
pub(super) const REVOKED: &str = "
SELECT task_id, terminate FROM tradewind_revoked WHERE expires_at > clock_timestamp()
ORDER BY mark DESC LIMIT $1";

/// $1 key, $2 tokens per second, $3 size. A row if one was taken. The conflict locks the row, and the
/// condition is checked on what it then holds.
pub(super) const TAKE_TOKEN: &str = "
INSERT INTO tradewind_rate AS r (key, tokens, counted_at)
VALUES ($1, $3::float8 - 1, clock_timestamp())
ON CONFLICT (key) DO UPDATE SET counted_at = clock_timestamp(),
    tokens = least($3::float8, r.tokens + $2::float8 * greatest(0, extract(epoch FROM clock_timestamp() - r.counted_at)::float8)) - 1
WHERE least($3::float8, r.tokens + $2::float8 * greatest(0, extract(epoch FROM clock_timestamp() - r.counted_at)::float8)) >= 1
RETURNING 1";
/// $1 key, $2 tokens per second. Seconds until one token is there.
pub(super) const TOKEN_WAIT: &str = "
SELECT greatest(0, (1 - tokens) / $2::float8
    - greatest(0, extract(epoch FROM clock_timestamp() - counted_at)::float8))
FROM tradewind_rate WHERE key = $1";

pub(super) const PLACE_EXPIRE: &str =
    "DELETE FROM tradewind_place WHERE key = $1 AND expires_at <= clock_timestamp()";
/// $1 key, $2 limit, $3 holder, $4 lease in microseconds. A row if entered.
pub(super) const ENTER: &str = "
INSERT INTO tradewind_place (key, holder, expires_at)
SELECT $1, $3, clock_timestamp() + $4::bigint * interval '1 microsecond'
WHERE (SELECT count(*) FROM tradewind_place WHERE key = $1 AND holder <> $3) < $2::bigint
   OR EXISTS (SELECT 1 FROM tradewind_place WHERE key = $1 AND holder = $3)
ON CONFLICT (key, holder) DO UPDATE SET expires_at = excluded.expires_at
RETURNING 1";
pub(super) const LEAVE: &str = "DELETE FROM tradewind_place WHERE key = $1 AND holder = $2";

/// $1 key, $2 id, $3 ttl in microseconds. A row if claimed.
pub(super) const CLAIM: &str = "
INSERT INTO tradewind_unique AS u (key, holder, expires_at)
VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 microsecond')
ON CONFLICT (key) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE u.holder = excluded.holder OR u.expires_at <= clock_timestamp()
RETURNING 1";
pub(super) const CLAIM_HOLDER: &str = "SELECT holder FROM tradewind_unique WHERE key = $1";
pub(super) const RELEASE: &str = "DELETE FROM tradewind_unique WHERE key = $1 AND holder = $2";

pub(super) const START: &str = "
INSERT INTO tradewind_start (task_id, worker, expires_at)
VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 microsecond')";
pub(super) const START_COUNT: &str = "
SELECT count(*) FROM tradewind_start WHERE task_id = $1 AND expires_at > clock_timestamp()";
pub(super) const STARTS_CLEAR: &str = "DELETE FROM tradewind_start WHERE task_id = ANY($1)";
/// $1 id, $2 most: the last ones, oldest first.
pub(super) const STARTS: &str = "
SELECT worker FROM (
    SELECT id, worker FROM tradewind_start
    WHERE task_id = $1 AND expires_at > clock_timestamp() ORDER BY id DESC LIMIT $2) AS last
ORDER BY id";

pub(super) const LAST_SENT: &str = "SELECT sent_us FROM tradewind_beat WHERE entry = $1";
pub(super) const ADVANCE_FIRST: &str = "
INSERT INTO tradewind_beat (entry, sent_us) VALUES ($1, $2)
ON CONFLICT (entry) DO NOTHING RETURNING 1";
pub(super) const ADVANCE: &str =
    "UPDATE tradewind_beat SET sent_us = $3 WHERE entry = $1 AND sent_us = $2 RETURNING 1";
