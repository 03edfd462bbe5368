//! Tells when something in the DAGs folder may have changed. A hint: a network file system tells
//! nothing, so the folder is also looked through from time to time.

use std::path::Path;
use std::sync::Arc;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tracing::warn;

/// Watches a folder and everything below for as long as it lives.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    changed: Arc<Notify>,
}

impl Watch {
    /// Starts to watch. Where that is not possible, [`Watch::changed`] never returns.
    pub(super) fn new(folder: &Path) -> Self {
        let changed = Arc::new(Notify::new());
        let signal = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, matters) {
                signal.notify_one();
            }
        })
        .and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let watcher = watcher
            .inspect_err(|error| {
                warn!(folder = %folder.display(), %error,
                    "cannot watch the DAGs folder; changes are seen by looking through it");
            })
            .ok();
        Self { watcher, changed }
    }

    /// Whether events will come at all.
    pub(super) fn works(&self) -> bool {
        self.watcher.is_some()
    }

    /// Returns after the next change. Changes while nobody waits are kept.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn matters(event: &Event) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event.paths.is_empty() || event.paths.iter().any(|path| !is_noise(path))
}

/// What Python and editors write beside the files that count.
fn is_noise(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.ends_with(".pyc")
        || name.ends_with('~')
        || path.components().any(|part| part.as_os_str() == "__pycache__")
}
