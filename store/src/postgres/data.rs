//! XComs, variables, logs.

use async_trait::async_trait;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tradewind_proto::AttemptId;
use tradewind_proto::execution::{LogChunk, XcomQuery, XcomReply};
use uuid::Uuid;

use super::PostgresStore;
use super::failure::{Res, all, at, clean, first};
use crate::model::LogRead;
use crate::rows::{BadRow, Cells};
use crate::{DataStore, Error, logs};

/// For each asked task the run itself, or (with `$4`) the newest earlier run that has the XCom.
const XCOMS: &str = "SELECT q.task_id, x.map_index, x.value FROM dag_run o \
    CROSS JOIN LATERAL (SELECT a.task_id, a.n FROM unnest($3::text[]) WITH ORDINALITY \
    AS a (task_id, n) UNION ALL SELECT t.task_id, min(t.ord) FROM task_instance t \
    WHERE t.run = o.id AND cardinality($3::text[]) = 0 GROUP BY t.task_id) q \
    CROSS JOIN LATERAL (SELECT r.id FROM dag_run r WHERE r.dag_id = $1 \
    AND (r.id = o.id OR ($4 AND r.date_key < o.date_key)) AND EXISTS \
    (SELECT 1 FROM xcom y WHERE y.run = r.id AND y.task_id = q.task_id AND y.key = $5) \
    ORDER BY r.id = o.id DESC, r.date_key DESC LIMIT 1) p \
    JOIN xcom x ON x.run = p.id AND x.task_id = q.task_id AND x.key = $5 \
    WHERE o.dag_id = $1 AND o.run_id = $2 ORDER BY q.n, x.map_index";

#[async_trait]
impl DataStore for PostgresStore {
    async fn xcoms(&self, query: &XcomQuery) -> Result<XcomReply, Error> {
        let read = async {
            let args: &[&(dyn ToSql + Sync)] = &[
                &query.dag_id,
                &query.run_id,
                &query.task_ids,
                &query.include_prior_dates,
                &query.key,
            ];
            let rows = self.conn().await?.query(XCOMS, args).await?;
            let values = all(&rows, |row| {
                let task = row.text(0)?;
                let value: Value = serde_json::from_str(&row.text(2)?)
                    .map_err(|e| BadRow(format!("XCom {task}.{} is not JSON: {e}", query.key)))?;
                Ok((task, row.i32(1)?, value))
            })?;
            Ok(XcomReply { values })
        };
        read.await.map_err(at("xcoms"))
    }

    async fn variable(&self, key: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT value FROM variable WHERE key = $1";
        let read =
            async { first(&self.conn().await?.query(sql, &[&key]).await?, |row| row.text(0)) };
        read.await.map_err(at("variable"))
    }

    async fn set_variable(&self, key: &str, value: &str) -> Result<(), Error> {
        let sql = "INSERT INTO variable (key, value) VALUES ($1, $2) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        let write = async { self.conn().await?.execute(sql, &[&key, &clean(value)]).await };
        write.await.map(drop).map_err(at("set_variable"))
    }

    async fn append_logs(&self, chunks: &[LogChunk]) -> Result<u64, Error> {
        // In the order given: of one number twice, the first is kept.
        let sql = "WITH n AS (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], \
                   $4::text[]) WITH ORDINALITY AS n (attempt, token, seq, text, place)), \
                   known AS (SELECT n.attempt, n.seq, n.text, n.place FROM n \
                   JOIN attempt a ON a.id = n.attempt AND a.token = n.token), \
                   stored AS (INSERT INTO log_chunk (attempt, seq, text) \
                   SELECT attempt, seq, text FROM known ORDER BY place ON CONFLICT DO NOTHING) \
                   SELECT (SELECT count(*) FROM n) - (SELECT count(*) FROM known)";
        let write = async {
            let ids: Vec<Uuid> = chunks.iter().map(|c| c.attempt_id.0).collect();
            let tokens: Vec<i64> = chunks.iter().map(|c| c.token).collect();
            let numbers: Vec<i64> = chunks.iter().map(|c| i64::from(c.seq)).collect();
            let texts: Vec<String> = chunks.iter().map(|c| clean(&c.text)).collect();
            let args: &[&(dyn ToSql + Sync)] = &[&ids, &tokens, &numbers, &texts];
            let rows = self.conn().await?.query(sql, args).await?;
            Ok(first(&rows, |row| row.int(0))?.unwrap_or(0))
        };
        write.await.map(|n: i64| u64::try_from(n).unwrap_or(0)).map_err(at("append_logs"))
    }

    async fn read_log(&self, attempt: AttemptId, seq: u32) -> Result<LogRead, Error> {
        self.read_chunks(attempt, seq).await.map_err(at("read_log"))
    }
}

impl PostgresStore {
    async fn read_chunks(&self, attempt: AttemptId, seq: u32) -> Res<LogRead> {
        let conn = self.conn().await?;
        // The end is read first: no chunk that came before it is missed after it.
        let ended = conn
            .query("SELECT ended_at IS NOT NULL FROM attempt WHERE id = $1", &[&attempt.0])
            .await?;
        let missing = || Error::NotFound { kind: "attempt", name: attempt.to_string() };
        let ended = first(&ended, |row| row.flag(0))?.ok_or_else(missing)?;
        let bytes = i64::try_from(logs::READ_BYTES_MAX).unwrap_or(i64::MAX);
        // One chunk beyond the limit is read, so that it shows as cut.
        let rows = conn
            .query(
                "SELECT seq, text FROM (SELECT seq, text, sum(octet_length(text)) \
                 OVER (ORDER BY seq) - octet_length(text) AS before FROM (SELECT seq, text \
                 FROM log_chunk WHERE attempt = $1 AND seq >= $2 ORDER BY seq LIMIT $3) c) s \
                 WHERE before <= $4 ORDER BY seq",
                &[&attempt.0, &i64::from(seq), &i64::from(logs::READ_CHUNKS_MAX), &bytes],
            )
            .await?;
        let chunks = all(&rows, |row| Ok((row.u32(0)?, row.text(1)?)))?;
        let cut = chunks.iter().map(|(_, text)| text.len()).sum::<usize>() > logs::READ_BYTES_MAX;
        Ok(logs::join(chunks, seq, ended, cut))
    }
}
