//! DAGs and their versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::Row;
use tradewind_proto::clock::to_micros;
use tradewind_proto::dag::DagSpec;

use super::conn::{Conn, Tx};
use super::failure::{Res, all, at, clean};
use super::{PostgresStore, listen};
use crate::model::{DagRow, FileSync, ImportErrorRow};
use crate::rows::{self, Cells, NOT_COMPUTED};
use crate::sync::{self, Accepted, Known};
use crate::{DagStore, Error};

const SPECS: &str = "SELECT version_hash, spec FROM dag_version WHERE version_hash = ANY($1)";

#[async_trait]
impl DagStore for PostgresStore {
    async fn sync_file(&self, file: FileSync, now: Timestamp) -> Result<Vec<String>, Error> {
        self.record_file(&file, now).await.map_err(at("sync_file"))
    }

    async fn retain_files(&self, present: &[String], now: Timestamp) -> Result<Vec<String>, Error> {
        self.retain(present, now).await.map_err(at("retain_files"))
    }

    async fn dags(&self, include_inactive: bool) -> Result<Vec<DagRow>, Error> {
        let sql =
            format!("SELECT {} FROM dag d WHERE d.is_active OR $1 ORDER BY d.dag_id", rows::DAG);
        let read = async {
            let conn = self.conn().await?;
            let rows = conn.query(&sql, &[&include_inactive]).await?;
            self.with_specs(&conn, &rows).await
        };
        read.await.map_err(at("dags"))
    }

    async fn dag(&self, dag_id: &str) -> Result<Option<DagRow>, Error> {
        let sql = format!("SELECT {} FROM dag d WHERE d.dag_id = $1", rows::DAG);
        let read = async {
            let conn = self.conn().await?;
            let rows = conn.query(&sql, &[&dag_id]).await?;
            Ok(self.with_specs(&conn, &rows).await?.pop())
        };
        read.await.map_err(at("dag"))
    }

    async fn spec(&self, version_hash: &str) -> Result<Option<Arc<DagSpec>>, Error> {
        if let Some(spec) = self.specs.get(version_hash) {
            return Ok(Some(spec));
        }
        let read = async {
            let conn = self.conn().await?;
            Ok(self.load_specs(&conn, [version_hash.to_owned()]).await?.remove(version_hash))
        };
        read.await.map_err(at("spec"))
    }

    async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<(), Error> {
        // The next run is computed anew: while the DAG was paused, time went on.
        let sql = "WITH changed AS (UPDATE dag SET is_paused = $2, \
                   schedule_epoch = schedule_epoch + 1, \
                   due_at = CASE WHEN $2 THEN due_at ELSE $3 END WHERE dag_id = $1 \
                   RETURNING dag_id) SELECT pg_notify($4, $5) FROM changed";
        let write = async {
            let conn = self.conn().await?;
            let payload = self.payload();
            let args: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
                &[&dag_id, &paused, &NOT_COMPUTED, &listen::CHANNEL, &payload];
            conn.query(sql, args).await
        };
        if write.await.map_err(at("set_paused"))?.is_empty() {
            return Err(Error::NotFound { kind: "DAG", name: dag_id.to_owned() });
        }
        Ok(())
    }

    async fn import_errors(&self) -> Result<Vec<ImportErrorRow>, Error> {
        let sql = format!("SELECT {} FROM import_error ORDER BY fileloc", rows::IMPORT_ERROR);
        let read = async { all(&self.conn().await?.query(&sql, &[]).await?, rows::import_error) };
        read.await.map_err(at("import_errors"))
    }
}

impl PostgresStore {
    /// Versions by hash, from the cache or the table.
    pub(super) async fn load_specs(
        &self,
        conn: &Conn,
        hashes: impl IntoIterator<Item = String>,
    ) -> Res<BTreeMap<String, Arc<DagSpec>>> {
        let (mut specs, missing) = self.cached(hashes);
        if !missing.is_empty() {
            let rows = conn.query(SPECS, &[&missing]).await?;
            self.keep(&rows, &mut specs)?;
        }
        Ok(specs)
    }

    /// As [`PostgresStore::load_specs`], within a transaction.
    pub(super) async fn load_specs_in(
        &self,
        tx: &Tx,
        hashes: impl IntoIterator<Item = String>,
    ) -> Res<BTreeMap<String, Arc<DagSpec>>> {
        let (mut specs, missing) = self.cached(hashes);
        if !missing.is_empty() {
            let rows = tx.query(SPECS, &[&missing]).await?;
            self.keep(&rows, &mut specs)?;
        }
        Ok(specs)
    }

    fn cached(
        &self,
        hashes: impl IntoIterator<Item = String>,
    ) -> (BTreeMap<String, Arc<DagSpec>>, Vec<String>) {
        let mut specs = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for hash in hashes {
            match self.specs.get(&hash) {
                Some(spec) => drop(specs.insert(hash, spec)),
                None => drop(missing.insert(hash)),
            }
        }
        (specs, missing.into_iter().collect())
    }

    fn keep(&self, rows: &[Row], specs: &mut BTreeMap<String, Arc<DagSpec>>) -> Res<()> {
        for row in rows {
            let hash = row.text(0)?;
            let spec = self.specs.parse(&hash, &row.text(1)?)?;
            specs.insert(hash, spec);
        }
        Ok(())
    }

    async fn with_specs(&self, conn: &Conn, rows: &[Row]) -> Res<Vec<DagRow>> {
        let heads = all(rows, rows::dag)?;
        let specs = self.load_specs(conn, heads.iter().map(|h| h.version_hash.clone())).await?;
        let with_spec = |head: rows::DagHead| {
            let spec = specs.get(&head.version_hash).cloned().ok_or_else(|| Error::NotFound {
                kind: "DAG version",
                name: head.version_hash.clone(),
            })?;
            Ok(DagRow {
                spec,
                dag_id: head.dag_id,
                version_hash: head.version_hash,
                version_number: head.version_number,
                is_paused: head.is_paused,
                is_active: head.is_active,
                next_run: head.next,
                last_parsed_at: head.parsed_at,
            })
        };
        heads.into_iter().map(with_spec).collect()
    }

    async fn record_file(&self, file: &FileSync, now: Timestamp) -> Res<Vec<String>> {
        let tx = self.begin().await?;
        let at = to_micros(now);
        tx.query("SELECT pg_advisory_xact_lock($1)", &[&self.lock_key("files")]).await?;
        let ids: Vec<&str> = file.dags.iter().map(|d| d.dag_id.as_str()).collect();
        let rows = tx
            .query(
                "SELECT dag_id, fileloc, version_hash, is_active FROM dag \
                 WHERE fileloc = $1 OR dag_id = ANY($2)",
                &[&file.fileloc, &ids],
            )
            .await?;
        let mut known = BTreeMap::new();
        for row in &rows {
            let row_known = Known {
                fileloc: row.text(1)?,
                version_hash: row.text(2)?,
                is_active: row.flag(3)?,
            };
            known.insert(row.text(0)?, row_known);
        }
        let plan = sync::plan(file, &known)?;
        for dag in &plan.accepted {
            write_dag(&tx, file, dag, at).await?;
        }
        tx.query(
            "UPDATE dag SET is_active = FALSE, parsed_at = $2 WHERE dag_id = ANY($1)",
            &[&plan.deactivate, &at],
        )
        .await?;
        write_error(&tx, file, &plan, at).await?;
        if plan.accepted.iter().any(|a| a.reschedule) {
            tx.query("SELECT pg_notify($1, $2)", &[&listen::CHANNEL, &self.payload()]).await?;
        }
        tx.commit().await?;
        let changed = plan.accepted.iter().filter(|a| a.new_version);
        Ok(changed.map(|a| a.spec.dag_id.clone()).collect())
    }

    async fn retain(&self, present: &[String], now: Timestamp) -> Res<Vec<String>> {
        let tx = self.begin().await?;
        tx.query("SELECT pg_advisory_xact_lock($1)", &[&self.lock_key("files")]).await?;
        tx.query("DELETE FROM import_error WHERE fileloc <> ALL($1)", &[&present]).await?;
        let rows = tx
            .query(
                "UPDATE dag SET is_active = FALSE, parsed_at = $2 WHERE is_active \
                 AND fileloc <> ALL($1) RETURNING dag_id",
                &[&present, &to_micros(now)],
            )
            .await?;
        tx.commit().await?;
        let mut gone = all(&rows, |row| row.text(0))?;
        gone.sort();
        Ok(gone)
    }
}

async fn write_dag(tx: &Tx, file: &FileSync, dag: &Accepted<'_>, at: i64) -> Res<()> {
    let (dag_id, max_active) = (&dag.spec.dag_id, i64::from(dag.spec.max_active_runs));
    if dag.new_version {
        tx.query(
            "INSERT INTO dag_version (version_hash, dag_id, number, spec, created_at) \
             SELECT $1, $2, coalesce(max(number), 0) + 1, $3, $4 FROM dag_version \
             WHERE dag_id = $2 ON CONFLICT (version_hash) DO NOTHING",
            &[&dag.hash, dag_id, &dag.json, &at],
        )
        .await?;
    }
    if dag.new_dag {
        tx.query(
            "INSERT INTO dag (dag_id, fileloc, version_hash, version_number, is_paused, \
             is_active, max_active_runs, parsed_at, due_at) \
             VALUES ($1, $2, $3, 1, $4, TRUE, $5, $6, $7)",
            &[
                dag_id,
                &file.fileloc,
                &dag.hash,
                &dag.paused_at_first,
                &max_active,
                &at,
                &NOT_COMPUTED,
            ],
        )
        .await?;
        return Ok(());
    }
    tx.query(
        "UPDATE dag SET fileloc = $2, version_hash = $3, is_active = TRUE, max_active_runs = $4, \
         parsed_at = $5, schedule_epoch = schedule_epoch + CASE WHEN $6 THEN 1 ELSE 0 END, \
         due_at = CASE WHEN $6 THEN $7 ELSE due_at END, \
         version_number = (SELECT max(number) FROM dag_version WHERE dag_id = $1) \
         WHERE dag_id = $1",
        &[dag_id, &file.fileloc, &dag.hash, &max_active, &at, &dag.reschedule, &NOT_COMPUTED],
    )
    .await?;
    Ok(())
}

async fn write_error(tx: &Tx, file: &FileSync, plan: &sync::SyncPlan<'_>, at: i64) -> Res<()> {
    let Some(error) = &plan.error else {
        tx.query("DELETE FROM import_error WHERE fileloc = $1", &[&file.fileloc]).await?;
        return Ok(());
    };
    let (message, detail) = (clean(&error.message), clean(&error.detail));
    tx.query(
        "INSERT INTO import_error (fileloc, message, line, detail, at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (fileloc) DO UPDATE SET \
         message = excluded.message, line = excluded.line, detail = excluded.detail, \
         at = excluded.at",
        &[&file.fileloc, &message, &error.line.map(i64::from), &detail, &at],
    )
    .await?;
    Ok(())
}
