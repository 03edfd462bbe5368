//! What recording a file means for the DAGs' rows: pure, shared by the drivers.

use std::collections::BTreeMap;

use tradewind_proto::dag::{DagSpec, ImportError};

use crate::model::FileSync;
use crate::rows::BadRow;

/// A DAG's row as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) fileloc: String,
    pub(crate) version_hash: String,
    pub(crate) is_active: bool,
}

/// A DAG to write.
#[derive(Debug)]
pub(crate) struct Accepted<'a> {
    pub(crate) spec: &'a DagSpec,
    pub(crate) hash: String,
    pub(crate) json: String,
    /// Its version differs from the row's, or there is no row.
    pub(crate) new_version: bool,
    /// There is no row.
    pub(crate) new_dag: bool,
    /// Its schedule has to be computed anew.
    pub(crate) reschedule: bool,
    pub(crate) paused_at_first: bool,
}

#[derive(Debug)]
pub(crate) struct SyncPlan<'a> {
    pub(crate) accepted: Vec<Accepted<'a>>,
    pub(crate) deactivate: Vec<String>,
    pub(crate) error: Option<ImportError>,
}

/// `known`: the rows of the DAGs that the file holds, and of those that it held.
pub(crate) fn plan<'a>(
    file: &'a FileSync,
    known: &BTreeMap<String, Known>,
) -> Result<SyncPlan<'a>, BadRow> {
    let mut accepted: Vec<Accepted<'a>> = Vec::with_capacity(file.dags.len());
    let mut refused = Vec::new();
    for spec in &file.dags {
        let row = known.get(&spec.dag_id);
        let owner = row.filter(|k| k.is_active && k.fileloc != file.fileloc);
        if let Some(owner) = owner {
            refused.push(format!(
                "DAG {:?} of {} is not loaded: {} defines it already; rename one of them",
                spec.dag_id, file.fileloc, owner.fileloc
            ));
        } else if accepted.iter().any(|a| a.spec.dag_id == spec.dag_id) {
            refused.push(format!(
                "DAG {:?} is defined twice in {}; the first definition is used",
                spec.dag_id, file.fileloc
            ));
        } else {
            accepted.push(accept(file, spec, row)?);
        }
    }
    let lost = |id: &String| !file.dags.iter().any(|d| d.dag_id == *id);
    let deactivate = known
        .iter()
        .filter(|(id, k)| {
            file.error.is_none() && k.is_active && k.fileloc == file.fileloc && lost(id)
        })
        .map(|(id, _)| id.clone())
        .collect();
    Ok(SyncPlan { accepted, deactivate, error: merge(file.error.clone(), &refused) })
}

fn accept<'a>(
    file: &FileSync,
    spec: &'a DagSpec,
    row: Option<&Known>,
) -> Result<Accepted<'a>, BadRow> {
    let hash = spec.version_hash();
    let json = serde_json::to_string(spec)
        .map_err(|e| BadRow(format!("DAG {:?} cannot be written as JSON: {e}", spec.dag_id)))?;
    let new_version = row.is_none_or(|k| k.version_hash != hash);
    Ok(Accepted {
        spec,
        hash,
        json,
        new_version,
        new_dag: row.is_none(),
        reschedule: new_version || row.is_some_and(|k| !k.is_active),
        paused_at_first: spec.is_paused_upon_creation.unwrap_or(file.paused_by_default),
    })
}

fn merge(error: Option<ImportError>, refused: &[String]) -> Option<ImportError> {
    let Some(first) = refused.first() else { return error };
    let all = refused.join("\n");
    Some(match error {
        Some(error) => ImportError { detail: format!("{}\n{all}", error.detail), ..error },
        None => ImportError { message: first.clone(), line: None, detail: all },
    })
}
