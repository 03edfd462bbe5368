//! XComs, variables, logs.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use tradewind_proto::AttemptId;
use tradewind_proto::execution::{LogChunk, XcomQuery, XcomReply};
use uuid::Uuid;

use super::SqliteStore;
use super::failure::Res;
use crate::model::LogRead;
use crate::rows::{BadRow, Cells};
use crate::{DataStore, Error, logs};

#[async_trait]
impl DataStore for SqliteStore {
    async fn xcoms(&self, query: &XcomQuery) -> Result<XcomReply, Error> {
        let query = query.clone();
        self.db.read("xcoms", move |c| xcoms(c, &query)).await
    }

    async fn variable(&self, key: &str) -> Result<Option<String>, Error> {
        let key = key.to_owned();
        self.db
            .read("variable", move |c| {
                let mut statement =
                    c.prepare_cached("SELECT value FROM variable WHERE key = ?1")?;
                Ok(statement.query_row([key], |row| row.get(0)).optional()?)
            })
            .await
    }

    async fn set_variable(&self, key: &str, value: &str) -> Result<(), Error> {
        let pair = (key.to_owned(), value.to_owned());
        let sql = "INSERT INTO variable (key, value) VALUES (?1, ?2) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.db
            .write("set_variable", move |c| {
                c.prepare_cached(sql)?.execute(pair)?;
                Ok(())
            })
            .await
    }

    async fn append_logs(&self, chunks: &[LogChunk]) -> Result<u64, Error> {
        let chunks = chunks.to_vec();
        self.db.write("append_logs", move |c| append(c, &chunks)).await
    }

    async fn read_log(&self, attempt: AttemptId, seq: u32) -> Result<LogRead, Error> {
        self.db.read("read_log", move |c| read_log(c, attempt, seq)).await
    }
}

fn xcoms(c: &Connection, query: &XcomQuery) -> Res<XcomReply> {
    let mut reply = XcomReply { values: Vec::new() };
    let run: Option<(Uuid, i64)> = c
        .prepare_cached("SELECT id, date_key FROM dag_run WHERE dag_id = ?1 AND run_id = ?2")?
        .query_row([&query.dag_id, &query.run_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((run, date_key)) = run else { return Ok(reply) };
    let mut tasks = query.task_ids.clone();
    if tasks.is_empty() {
        let mut statement = c.prepare_cached(
            "SELECT task_id FROM task_instance WHERE run = ?1 GROUP BY task_id ORDER BY min(ord)",
        )?;
        let all = statement.query_map([run], |row| row.get(0))?;
        tasks = all.collect::<Result<_, _>>()?;
    }
    for task in tasks {
        values(c, run, &task, &query.key, &mut reply)?;
        let found = reply.values.last().is_some_and(|v| v.0 == task);
        if !found && query.include_prior_dates {
            let prior = prior_run(c, &query.dag_id, date_key, &task, &query.key)?;
            if let Some(prior) = prior {
                values(c, prior, &task, &query.key, &mut reply)?;
            }
        }
    }
    Ok(reply)
}

fn values(c: &Connection, run: Uuid, task: &str, key: &str, reply: &mut XcomReply) -> Res<()> {
    let mut statement = c.prepare_cached(
        "SELECT map_index, value FROM xcom WHERE run = ?1 AND task_id = ?2 AND key = ?3 \
         ORDER BY map_index",
    )?;
    let mut found = statement.query(params![run, task, key])?;
    while let Some(row) = found.next()? {
        let value: Value = serde_json::from_str(&row.text(1)?)
            .map_err(|e| BadRow(format!("XCom {task}.{key} is not JSON: {e}")))?;
        reply.values.push((task.to_owned(), row.i32(0)?, value));
    }
    Ok(())
}

/// The newest earlier run that has the XCom.
fn prior_run(
    c: &Connection,
    dag_id: &str,
    date_key: i64,
    task: &str,
    key: &str,
) -> Res<Option<Uuid>> {
    let mut statement = c.prepare_cached(
        "SELECT r.id FROM dag_run r WHERE r.dag_id = ?1 AND r.date_key < ?2 AND EXISTS \
         (SELECT 1 FROM xcom x WHERE x.run = r.id AND x.task_id = ?3 AND x.key = ?4) \
         ORDER BY r.date_key DESC LIMIT 1",
    )?;
    Ok(statement.query_row(params![dag_id, date_key, task, key], |row| row.get(0)).optional()?)
}

fn append(c: &Connection, chunks: &[LogChunk]) -> Res<u64> {
    let mut known = c.prepare_cached("SELECT 1 FROM attempt WHERE id = ?1 AND token = ?2")?;
    let mut insert = c.prepare_cached(
        "INSERT INTO log_chunk (attempt, seq, text) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    let mut refused = 0;
    for chunk in chunks {
        if known.exists(params![chunk.attempt_id.0, chunk.token])? {
            insert.execute(params![chunk.attempt_id.0, chunk.seq, chunk.text])?;
        } else {
            refused += 1;
        }
    }
    Ok(refused)
}

fn read_log(c: &Connection, attempt: AttemptId, seq: u32) -> Res<LogRead> {
    let ended: Option<bool> = c
        .prepare_cached("SELECT ended_at IS NOT NULL FROM attempt WHERE id = ?1")?
        .query_row([attempt.0], |row| row.get(0))
        .optional()?;
    let missing = || Error::NotFound { kind: "attempt", name: attempt.to_string() };
    let ended = ended.ok_or_else(missing)?;
    let mut statement = c.prepare_cached(
        "SELECT seq, text FROM log_chunk WHERE attempt = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3",
    )?;
    let mut found = statement.query(params![attempt.0, seq, logs::READ_CHUNKS_MAX])?;
    let (mut chunks, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let text = row.text(1)?;
        bytes += text.len();
        chunks.push((row.u32(0)?, text));
        if bytes > logs::READ_BYTES_MAX {
            break;
        }
    }
    Ok(logs::join(chunks, seq, ended, bytes > logs::READ_BYTES_MAX))
}
