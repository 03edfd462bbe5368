//! DAG versions with their tasks behind `Arc`s, so that a claim copies no task. Versions are
//! immutable: an entry is never wrong, only dropped when the cache is full.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tradewind_proto::dag::{DagSpec, TaskSpec};

/// Versions kept; the least recently used one goes first.
const VERSIONS_MAX: usize = 64;

/// One DAG version.
#[derive(Debug)]
pub(crate) struct Version {
    /// The whole DAG.
    pub(crate) spec: Arc<DagSpec>,
    tasks: BTreeMap<String, Arc<TaskSpec>>,
}

impl Version {
    pub(crate) fn new(spec: Arc<DagSpec>) -> Self {
        let tasks = spec.tasks.iter().map(|t| (t.task_id.clone(), Arc::new(t.clone()))).collect();
        Self { spec, tasks }
    }

    /// A task by name.
    pub(crate) fn task(&self, task_id: &str) -> Option<&Arc<TaskSpec>> {
        self.tasks.get(task_id)
    }
}

#[derive(Debug, Default)]
struct Entries {
    by_hash: BTreeMap<String, (Arc<Version>, u64)>,
    uses: u64,
}

/// A bounded cache by version hash.
#[derive(Debug, Default)]
pub(crate) struct Versions(Mutex<Entries>);

impl Versions {
    pub(crate) fn get(&self, hash: &str) -> Option<Arc<Version>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.uses += 1;
        let now = entries.uses;
        let (version, used) = entries.by_hash.get_mut(hash)?;
        *used = now;
        Some(Arc::clone(version))
    }

    pub(crate) fn put(&self, hash: &str, version: Arc<Version>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.uses += 1;
        let now = entries.uses;
        entries.by_hash.insert(hash.to_owned(), (version, now));
        if entries.by_hash.len() > VERSIONS_MAX {
            let oldest =
                entries.by_hash.iter().min_by_key(|(_, (_, used))| *used).map(|(h, _)| h.clone());
            if let Some(oldest) = oldest {
                entries.by_hash.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::{VERSIONS_MAX, Version, Versions};

    fn version(dag_id: &str) -> Arc<Version> {
        let spec = json!({"dag_id": dag_id, "fileloc": "a.py", "generation": "2",
            "tasks": [{"task_id": "t", "operator": "BashOperator", "runtime": "bash"}]});
        Arc::new(Version::new(Arc::new(serde_json::from_value(spec).expect("a valid spec"))))
    }

    #[test]
    fn keeps_the_recently_used_and_stays_bounded() {
        let versions = Versions::default();
        versions.put("first", version("first"));
        for n in 0..VERSIONS_MAX * 2 {
            versions.put(&n.to_string(), version("other"));
            assert!(versions.get("first").is_some(), "used all the time, so kept");
        }
        assert!(versions.get("0").is_none(), "long unused, so dropped");
        let first = versions.get("first").expect("kept");
        assert_eq!(first.task("t").expect("its task").operator, "BashOperator");
        assert!(first.task("u").is_none());
    }
}
