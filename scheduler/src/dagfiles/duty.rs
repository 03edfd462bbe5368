//! Duty: keeps the stored DAGs in step with the DAGs folder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tradewind_proto::clock::SharedClock;
use tradewind_store::model::FileSync;
use tradewind_store::{Error as StoreError, Store};

use super::library::Library;
use super::parse::{ParseOptions, parse_file};
use super::watch::Watch;
use crate::duty::Duty;
use crate::metrics::Metrics;
use crate::options::{IgnoreSyntax, SchedulerOptions};

/// Editors and checkouts write several times: wait until they are done.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Wait before a file is stored again after the store failed.
const RETRY: Duration = Duration::from_secs(1);

/// Reads DAG files.
#[derive(Debug)]
pub(crate) struct DagFiles {
    store: Arc<dyn Store>,
    clock: SharedClock,
    metrics: Metrics,
    parse: ParseOptions,
    syntax: IgnoreSyntax,
    processes: usize,
    scan_interval: Duration,
    reparse_interval: Duration,
    paused_by_default: bool,
    scan_done: watch::Sender<bool>,
}

#[async_trait]
impl Duty for DagFiles {
    fn name(&self) -> &'static str {
        "dagfiles"
    }

    async fn run(&self, stop: CancellationToken) {
        Reader::new(self).run(&stop).await;
    }
}

impl DagFiles {
    /// The duty; `scan_done` becomes true once the folder has been read.
    pub(crate) fn new(
        options: &SchedulerOptions,
        store: Arc<dyn Store>,
        clock: SharedClock,
        metrics: Metrics,
        scan_done: watch::Sender<bool>,
    ) -> Self {
        Self {
            store,
            clock,
            metrics,
            parse: ParseOptions::from(options),
            syntax: options.ignore_syntax,
            processes: options.parse_processes,
            scan_interval: options.scan_interval,
            reparse_interval: options.reparse_interval,
            paused_by_default: options.dags_are_paused_at_creation,
            scan_done,
        }
    }

    /// Parses one file and stores what it holds.
    async fn read(&self, fileloc: String, noticed: Instant) -> Done {
        let parsed = parse_file(&self.parse, &fileloc).await;
        if let Some(error) = &parsed.error {
            warn!(
                fileloc,
                line = error.line,
                error = error.message,
                "DAG file has an import error"
            );
        }
        let sync = FileSync {
            fileloc: fileloc.clone(),
            dags: parsed.dags,
            error: parsed.error,
            paused_by_default: self.paused_by_default,
        };
        let result = self.store.sync_file(sync, self.clock.now()).await;
        self.metrics.parse.observe(noticed.elapsed().as_secs_f64());
        Done { fileloc, result }
    }
}

/// A file that has been parsed, and stored if the store took it.
struct Done {
    fileloc: String,
    result: Result<Vec<String>, StoreError>,
}

/// The state of the running duty.
struct Reader<'a> {
    duty: &'a DagFiles,
    library: Library,
    /// Files to parse, and since when.
    waiting: BTreeMap<String, Instant>,
    /// Files being parsed.
    running: FuturesUnordered<BoxFuture<'a, Done>>,
    in_hand: BTreeSet<String>,
    /// Files that the store was last told of.
    retained: Option<Vec<String>>,
    next_look: Instant,
    next_reparse: Instant,
    /// When a store that failed is asked again.
    retry_at: Option<Instant>,
}

impl<'a> Reader<'a> {
    fn new(duty: &'a DagFiles) -> Self {
        let now = Instant::now();
        Self {
            duty,
            library: Library::default(),
            waiting: BTreeMap::new(),
            running: FuturesUnordered::new(),
            in_hand: BTreeSet::new(),
            retained: None,
            next_look: now,
            next_reparse: now + duty.reparse_interval,
            retry_at: None,
        }
    }

    async fn run(&mut self, stop: &CancellationToken) {
        let mut watch = Watch::new(&self.duty.parse.dags_folder);
        loop {
            let until = self.next_look.min(self.retry_at.unwrap_or(self.next_look));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(done) = self.running.next() => self.done(done),
                () = watch.changed() => {
                    self.next_look = self.next_look.min(Instant::now() + DEBOUNCE);
                }
                () = tokio::time::sleep_until(until) => {
                    if !watch.works() {
                        watch = Watch::new(&self.duty.parse.dags_folder);
                    }
                    self.look(Instant::now()).await;
                }
            }
            self.start_parsing(Instant::now());
            if self.retained.is_some() && self.waiting.is_empty() && self.in_hand.is_empty() {
                self.duty.scan_done.send_if_modified(|done| !std::mem::replace(done, true));
            }
        }
    }

    /// Looks through the folder if it is time to.
    async fn look(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + self.duty.scan_interval;
        let mut library = self.library.clone();
        let folder = self.duty.parse.dags_folder.clone();
        let syntax = self.duty.syntax;
        let look = tokio::task::spawn_blocking(move || {
            library.refresh(&folder, syntax).map(|changes| (library, changes))
        });
        let changes = match look.await {
            Ok(Ok((library, changes))) => {
                self.library = library;
                changes
            }
            Ok(Err(error)) => {
                let folder = self.duty.parse.dags_folder.display();
                warn!(%folder, %error, "cannot read the DAGs folder; keeping the DAGs known so far");
                return;
            }
            Err(error) => {
                warn!(%error, "looking through the DAGs folder failed");
                return;
            }
        };
        let files = self.library.dag_files();
        let interval = self.duty.reparse_interval;
        let reparse = !interval.is_zero() && now >= self.next_reparse;
        if reparse {
            self.next_reparse = now + interval;
        }
        let all = changes.shared || reparse;
        for file in if all { &files } else { &changes.changed } {
            self.waiting.entry(file.clone()).or_insert(now);
        }
        self.waiting.retain(|file, _| files.binary_search(file).is_ok());
        self.retain(files).await;
    }

    /// Tells the store which files there are, if that has changed.
    async fn retain(&mut self, files: Vec<String>) {
        if self.retained.as_ref() == Some(&files) {
            return;
        }
        match self.duty.store.retain_files(&files, self.duty.clock.now()).await {
            Ok(gone) => {
                for dag_id in gone {
                    info!(dag_id, "DAG deactivated: its file is gone");
                }
                self.retained = Some(files);
            }
            Err(error) => warn!(%error, "could not tell the store which DAG files there are"),
        }
    }

    fn start_parsing(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        while self.running.len() < self.duty.processes {
            // A file that changed while it is being parsed waits for its turn again.
            let next = self.waiting.iter().find(|(file, _)| !self.in_hand.contains(*file));
            let Some((file, noticed)) = next.map(|(file, noticed)| (file.clone(), *noticed)) else {
                return;
            };
            self.waiting.remove(&file);
            self.in_hand.insert(file.clone());
            self.running.push(Box::pin(self.duty.read(file, noticed)));
        }
    }

    fn done(&mut self, done: Done) {
        self.in_hand.remove(&done.fileloc);
        if self.retained.as_ref().is_some_and(|files| files.binary_search(&done.fileloc).is_err()) {
            // Deleted while it was being parsed: what was stored just now has to go again.
            self.retained = None;
        }
        match done.result {
            Ok(new) => {
                for dag_id in new {
                    info!(dag_id, fileloc = done.fileloc, "DAG has a new version");
                }
            }
            Err(error) => {
                warn!(fileloc = done.fileloc, %error, "parsed DAG file not stored; trying again");
                let now = Instant::now();
                if error.is_retryable() {
                    self.waiting.entry(done.fileloc).or_insert(now);
                    self.retry_at = Some(now + RETRY);
                }
            }
        }
    }
}
