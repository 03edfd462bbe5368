//! DAGs and their versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tradewind_proto::clock::to_micros;
use tradewind_proto::dag::DagSpec;

use super::SqliteStore;
use super::failure::Res;
use crate::model::{DagRow, FileSync, ImportErrorRow};
use crate::rows::{self, Cells, DagHead, NOT_COMPUTED};
use crate::specs::SpecCache;
use crate::sync::{self, Accepted, Known};
use crate::{DagStore, Error};

#[async_trait]
impl DagStore for SqliteStore {
    async fn sync_file(&self, file: FileSync, now: Timestamp) -> Result<Vec<String>, Error> {
        let (changed, woken) =
            self.db.write("sync_file", move |c| sync_file(c, &file, now)).await?;
        if woken {
            self.wake();
        }
        Ok(changed)
    }

    async fn retain_files(&self, present: &[String], now: Timestamp) -> Result<Vec<String>, Error> {
        let present = present.to_vec();
        self.db.write("retain_files", move |c| retain_files(c, &present, now)).await
    }

    async fn dags(&self, include_inactive: bool) -> Result<Vec<DagRow>, Error> {
        let specs = Arc::clone(&self.specs);
        let sql = format!(
            "SELECT {} FROM dag d WHERE d.is_active = 1 OR ?1 ORDER BY d.dag_id",
            rows::DAG
        );
        self.db
            .read("dags", move |c| {
                let mut statement = c.prepare_cached(&sql)?;
                let mut found = statement.query([include_inactive])?;
                let mut dags = Vec::new();
                while let Some(row) = found.next()? {
                    dags.push(with_spec(c, &specs, rows::dag(row)?)?);
                }
                Ok(dags)
            })
            .await
    }

    async fn dag(&self, dag_id: &str) -> Result<Option<DagRow>, Error> {
        let (specs, dag_id) = (Arc::clone(&self.specs), dag_id.to_owned());
        let sql = format!("SELECT {} FROM dag d WHERE d.dag_id = ?1", rows::DAG);
        self.db
            .read("dag", move |c| {
                let mut statement = c.prepare_cached(&sql)?;
                let mut found = statement.query([dag_id])?;
                let Some(row) = found.next()? else { return Ok(None) };
                Ok(Some(with_spec(c, &specs, rows::dag(row)?)?))
            })
            .await
    }

    async fn spec(&self, version_hash: &str) -> Result<Option<Arc<DagSpec>>, Error> {
        if let Some(spec) = self.specs.get(version_hash) {
            return Ok(Some(spec));
        }
        let (specs, hash) = (Arc::clone(&self.specs), version_hash.to_owned());
        self.db.read("spec", move |c| load_spec(c, &specs, &hash)).await
    }

    async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<(), Error> {
        let id = dag_id.to_owned();
        // The next run is computed anew: while the DAG was paused, time went on.
        let sql = "UPDATE dag SET is_paused = ?2, schedule_epoch = schedule_epoch + 1, \
                   due_at = CASE WHEN ?2 THEN due_at ELSE ?3 END WHERE dag_id = ?1";
        let found = self
            .db
            .write("set_paused", move |c| {
                Ok(c.prepare_cached(sql)?.execute(params![id, paused, NOT_COMPUTED])?)
            })
            .await?;
        if found == 0 {
            return Err(Error::NotFound { kind: "DAG", name: dag_id.to_owned() });
        }
        self.wake();
        Ok(())
    }

    async fn import_errors(&self) -> Result<Vec<ImportErrorRow>, Error> {
        let sql = format!("SELECT {} FROM import_error ORDER BY fileloc", rows::IMPORT_ERROR);
        self.db
            .read("import_errors", move |c| {
                let mut statement = c.prepare_cached(&sql)?;
                let mut found = statement.query([])?;
                let mut errors = Vec::new();
                while let Some(row) = found.next()? {
                    errors.push(rows::import_error(row)?);
                }
                Ok(errors)
            })
            .await
    }
}

/// A version, from the cache or the table.
pub(super) fn load_spec(
    c: &Connection,
    specs: &SpecCache,
    hash: &str,
) -> Res<Option<Arc<DagSpec>>> {
    if let Some(spec) = specs.get(hash) {
        return Ok(Some(spec));
    }
    let mut statement = c.prepare_cached("SELECT spec FROM dag_version WHERE version_hash = ?1")?;
    let json: Option<String> = statement.query_row([hash], |row| row.get(0)).optional()?;
    Ok(json.map(|json| specs.parse(hash, &json)).transpose()?)
}

/// The spec of a row's version, which is there because rows refer to stored versions only.
pub(super) fn spec_of(c: &Connection, specs: &SpecCache, hash: &str) -> Res<Arc<DagSpec>> {
    let missing = || Error::NotFound { kind: "DAG version", name: hash.to_owned() };
    Ok(load_spec(c, specs, hash)?.ok_or_else(missing)?)
}

fn with_spec(c: &Connection, specs: &SpecCache, head: DagHead) -> Res<DagRow> {
    Ok(DagRow {
        spec: spec_of(c, specs, &head.version_hash)?,
        dag_id: head.dag_id,
        version_hash: head.version_hash,
        version_number: head.version_number,
        is_paused: head.is_paused,
        is_active: head.is_active,
        next_run: head.next,
        last_parsed_at: head.parsed_at,
    })
}

/// Returns the DAGs with a new version, and whether schedulers should look.
fn sync_file(c: &Connection, file: &FileSync, now: Timestamp) -> Res<(Vec<String>, bool)> {
    let plan = sync::plan(file, &known(c, file)?)?;
    let at = to_micros(now);
    for accepted in &plan.accepted {
        write_dag(c, file, accepted, at)?;
    }
    for dag_id in &plan.deactivate {
        c.prepare_cached("UPDATE dag SET is_active = 0, parsed_at = ?2 WHERE dag_id = ?1")?
            .execute(params![dag_id, at])?;
    }
    match &plan.error {
        Some(error) => c
            .prepare_cached(
                "INSERT INTO import_error (fileloc, message, line, detail, at) \
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (fileloc) DO UPDATE SET \
                 message = excluded.message, line = excluded.line, detail = excluded.detail, \
                 at = excluded.at",
            )?
            .execute(params![file.fileloc, error.message, error.line, error.detail, at])?,
        None => c
            .prepare_cached("DELETE FROM import_error WHERE fileloc = ?1")?
            .execute([&file.fileloc])?,
    };
    let woken = plan.accepted.iter().any(|a| a.reschedule);
    let changed = plan.accepted.iter().filter(|a| a.new_version);
    Ok((changed.map(|a| a.spec.dag_id.clone()).collect(), woken))
}

fn known(c: &Connection, file: &FileSync) -> Res<BTreeMap<String, Known>> {
    const COLUMNS: &str = "SELECT dag_id, fileloc, version_hash, is_active FROM dag WHERE";
    let mut known = BTreeMap::new();
    let mut add = |row: &rusqlite::Row<'_>| -> Res<()> {
        let row_known =
            Known { fileloc: row.text(1)?, version_hash: row.text(2)?, is_active: row.flag(3)? };
        known.insert(row.text(0)?, row_known);
        Ok(())
    };
    let mut statement = c.prepare_cached(&format!("{COLUMNS} fileloc = ?1"))?;
    let mut found = statement.query([&file.fileloc])?;
    while let Some(row) = found.next()? {
        add(row)?;
    }
    let mut statement = c.prepare_cached(&format!("{COLUMNS} dag_id = ?1"))?;
    for spec in &file.dags {
        let mut found = statement.query([&spec.dag_id])?;
        if let Some(row) = found.next()? {
            add(row)?;
        }
    }
    Ok(known)
}

fn write_dag(c: &Connection, file: &FileSync, dag: &Accepted<'_>, at: i64) -> Res<()> {
    let dag_id = &dag.spec.dag_id;
    if dag.new_version {
        c.prepare_cached(
            "INSERT INTO dag_version (version_hash, dag_id, number, spec, created_at) \
             SELECT ?1, ?2, coalesce(max(number), 0) + 1, ?3, ?4 FROM dag_version \
             WHERE dag_id = ?2 ON CONFLICT (version_hash) DO NOTHING",
        )?
        .execute(params![dag.hash, dag_id, dag.json, at])?;
    }
    if dag.new_dag {
        c.prepare_cached(
            "INSERT INTO dag (dag_id, fileloc, version_hash, version_number, is_paused, \
             is_active, max_active_runs, parsed_at, due_at) VALUES (?1, ?2, ?3, 1, ?4, 1, ?5, ?6, ?7)",
        )?
        .execute(params![
            dag_id,
            file.fileloc,
            dag.hash,
            dag.paused_at_first,
            dag.spec.max_active_runs,
            at,
            NOT_COMPUTED
        ])?;
        return Ok(());
    }
    c.prepare_cached(
        "UPDATE dag SET fileloc = ?2, version_hash = ?3, is_active = 1, max_active_runs = ?4, \
         parsed_at = ?5, schedule_epoch = schedule_epoch + ?6, \
         due_at = CASE WHEN ?6 THEN ?7 ELSE due_at END, \
         version_number = (SELECT max(number) FROM dag_version WHERE dag_id = ?1) \
         WHERE dag_id = ?1",
    )?
    .execute(params![
        dag_id,
        file.fileloc,
        dag.hash,
        dag.spec.max_active_runs,
        at,
        dag.reschedule,
        NOT_COMPUTED
    ])?;
    Ok(())
}

fn retain_files(c: &Connection, present: &[String], now: Timestamp) -> Res<Vec<String>> {
    let present = serde_json::to_string(present).unwrap_or_default();
    c.prepare_cached(
        "DELETE FROM import_error WHERE fileloc NOT IN (SELECT value FROM json_each(?1))",
    )?
    .execute([&present])?;
    let mut statement = c.prepare_cached(
        "UPDATE dag SET is_active = 0, parsed_at = ?2 WHERE is_active = 1 \
         AND fileloc NOT IN (SELECT value FROM json_each(?1)) RETURNING dag_id",
    )?;
    let gone = statement.query_map(params![present, to_micros(now)], |row| row.get(0))?;
    let mut gone: Vec<String> = gone.collect::<Result<_, _>>()?;
    gone.sort();
    Ok(gone)
}
