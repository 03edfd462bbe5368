//! A bounded cache of DAG versions by hash. Versions are immutable, so entries are never wrong; the
//! oldest leaves first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tradewind_proto::dag::DagSpec;

/// Versions kept in memory.
const VERSIONS_MAX: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct SpecCache(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_hash: BTreeMap<String, Arc<DagSpec>>,
    order: VecDeque<String>,
}

impl SpecCache {
    pub(crate) fn get(&self, hash: &str) -> Option<Arc<DagSpec>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_hash.get(hash).cloned()
    }

    pub(crate) fn insert(&self, hash: &str, spec: Arc<DagSpec>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.by_hash.insert(hash.to_owned(), spec).is_none() {
            inner.order.push_back(hash.to_owned());
        }
        while inner.order.len() > VERSIONS_MAX {
            if let Some(oldest) = inner.order.pop_front() {
                inner.by_hash.remove(&oldest);
            }
        }
    }

    /// Parses a stored version and keeps it.
    pub(crate) fn parse(
        &self,
        hash: &str,
        json: &str,
    ) -> Result<Arc<DagSpec>, crate::rows::BadRow> {
        let spec: DagSpec = serde_json::from_str(json)
            .map_err(|e| crate::rows::BadRow(format!("DAG version {hash} cannot be read: {e}")))?;
        let spec = Arc::new(spec);
        self.insert(hash, Arc::clone(&spec));
        Ok(spec)
    }
}
