//! A file outside the product in which tasks write that they ran: the witness that the store is
//! compared with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file. Tasks append lines of `dag_id run_id task_id word` to it.
#[derive(Debug)]
pub struct Ledger(PathBuf);

impl Ledger {
    /// An empty ledger in `folder`.
    pub fn new(folder: &Path) -> Self {
        let path = folder.join("ledger.txt");
        std::fs::write(&path, "").expect("ledger");
        Self(path)
    }

    /// Its path, for DAG files.
    pub fn path(&self) -> String {
        self.0.display().to_string()
    }

    /// The lines so far, as words.
    pub fn lines(&self) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(&self.0).expect("ledger");
        text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    }

    /// How often each (dag, run, task) wrote `word`.
    pub fn counts(&self, word: &str) -> BTreeMap<(String, String, String), usize> {
        let mut counts = BTreeMap::new();
        for line in self.lines() {
            if let [dag, run, task, found] = line.as_slice()
                && found == word
            {
                *counts.entry((dag.clone(), run.clone(), task.clone())).or_default() += 1;
            }
        }
        counts
    }
}
