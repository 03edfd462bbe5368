//! The history on disk: a journal of JSON lines that is appended to, and rewritten when it is full.
//!
//! The first line names the format. Every other line is a worker or a task as it was then; the last
//! line of a task counts. A line that was cut off by a crash costs that line only.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FlowerError;
use super::state::{Task, Worker};

/// Name of the journal in its folder.
const FILE: &str = "flower.jsonl";
/// The first line.
const FORMAT: &str = "{\"tradewind_flower\":1}";
/// Longest line read, in bytes: texts of a task are cut at 16 KiB each.
const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a> {
    Worker(&'a Worker),
    Task(&'a Task),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReadLine {
    Worker(Worker),
    Task(Box<Task>),
}

/// What was read back.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) workers: Vec<Worker>,
    /// Oldest news first.
    pub(crate) tasks: Vec<Task>,
    /// Lines that could not be read.
    pub(crate) torn: usize,
}

/// The journal. Its calls block.
#[derive(Debug)]
pub(crate) struct History {
    path: PathBuf,
    max: u64,
    /// Bytes in the file; none: it must be rewritten before anything is appended.
    length: Option<u64>,
}

impl History {
    /// Makes the folder and reads what is there. A file that is no journal is moved aside.
    ///
    /// # Errors
    /// [`FlowerError::History`] when the folder cannot be used.
    pub(crate) fn open(folder: &Path, max: u64) -> Result<(Self, Kept), FlowerError> {
        let path = folder.join(FILE);
        let failed = |source| FlowerError::History { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let kept = match File::open(&path) {
            Ok(file) => read(BufReader::new(file)).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Kept::default()),
            Err(error) => return Err(failed(error)),
        };
        let kept = match kept {
            Some(kept) => kept,
            None => {
                let aside = path.with_extension("corrupt");
                tracing::warn!(path = %path.display(), aside = %aside.display(),
                    "the history has another format: moved aside, starting afresh");
                fs::rename(&path, &aside).map_err(failed)?;
                Kept { torn: 1, ..Kept::default() }
            }
        };
        if kept.torn > 0 {
            tracing::warn!(path = %path.display(), lines = kept.torn,
                "the history has lines that cannot be read: skipped");
        }
        Ok((Self { path, max, length: None }, kept))
    }

    /// Whether the next write must be a [`History::rewrite`].
    pub(crate) fn is_full(&self) -> bool {
        self.length.is_none_or(|length| length >= self.max)
    }

    /// Adds what changed.
    pub(crate) fn append(&mut self, workers: &[Worker], tasks: &[Task]) -> io::Result<()> {
        let mut text = Vec::new();
        for task in tasks {
            push(&mut text, &Line::Task(task));
        }
        for worker in workers {
            push(&mut text, &Line::Worker(worker));
        }
        self.length = None;
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        // Not what we remember: another monitor of this machine may write here, too.
        let length = file.metadata()?.len();
        if length + text.len() as u64 > self.max {
            // Over the bound: the caller rewrites, with the newest first.
            return Ok(());
        }
        file.write_all(&text)?;
        self.length = Some(length + text.len() as u64);
        Ok(())
    }

    /// Replaces the journal by what counts now: all workers and the tasks with the newest news, in at
    /// most half of the bound, so that there is room to append. Readers see the old or the new file.
    pub(crate) fn rewrite<'a>(
        &mut self,
        workers: &[Worker],
        newest_first: impl Iterator<Item = &'a Task>,
    ) -> io::Result<()> {
        self.length = None;
        let budget = usize::try_from(self.max / 2).unwrap_or(usize::MAX);
        let mut head = format!("{FORMAT}\n").into_bytes();
        for worker in workers {
            push(&mut head, &Line::Worker(worker));
        }
        head.truncate(head.len().min(budget));
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut size = head.len();
        for task in newest_first {
            let mut line = Vec::new();
            push(&mut line, &Line::Task(task));
            size += line.len();
            if size > budget {
                break;
            }
            lines.push(line);
        }
        let temporary = self.path.with_extension("new");
        let mut file = io::BufWriter::new(File::create(&temporary)?);
        file.write_all(&head)?;
        let mut length = head.len();
        for line in lines.iter().rev() {
            file.write_all(line)?;
            length += line.len();
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        self.length = Some(length as u64);
        Ok(())
    }
}

fn push(text: &mut Vec<u8>, line: &Line<'_>) {
    // Lines always serialize: they are made of texts, numbers and lists.
    if let Ok(json) = serde_json::to_vec(line) {
        text.extend_from_slice(&json);
        text.push(b'\n');
    }
}

/// Reads a journal; none when the first line is another format's.
fn read(mut file: impl io::BufRead) -> io::Result<Option<Kept>> {
    let mut kept = Kept::default();
    let mut workers: HashMap<String, Worker> = HashMap::new();
    let mut tasks: HashMap<String, (usize, Task)> = HashMap::new();
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let bound = LINE_BYTES_MAX as u64;
        if io::Read::take(&mut file, bound).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        number += 1;
        if number == 1 {
            if line.trim_ascii() != FORMAT.as_bytes() {
                return Ok(None);
            }
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(ReadLine::Worker(worker)) => {
                workers.insert(worker.hostname.clone(), worker);
            }
            Ok(ReadLine::Task(task)) => {
                tasks.insert(task.uuid.clone(), (number, *task));
            }
            Err(_) => kept.torn += 1,
        }
    }
    let mut ordered: Vec<(usize, Task)> = tasks.into_values().collect();
    ordered.sort_by_key(|(number, _)| *number);
    kept.tasks = ordered.into_iter().map(|(_, task)| task).collect();
    kept.workers = workers.into_values().collect();
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::{FILE, History};
    use crate::flower::state::{Task, Worker};

    fn task(uuid: &str, state: &str) -> Task {
        let mut task = Task::new(uuid);
        task.state = Arc::from(state);
        task
    }

    fn worker() -> Worker {
        Worker { hostname: "celery@a".to_owned(), seen: 5.0, ..Worker::default() }
    }

    #[test]
    fn a_restart_keeps_everything_and_a_torn_line_costs_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut history, kept) = History::open(folder.path(), 1 << 16).expect("opens");
        assert!(kept.tasks.is_empty() && history.is_full(), "the first write makes the file");
        let first = [task("a", "STARTED"), task("b", "SUCCESS")];
        history.rewrite(&[worker()], first.iter().rev()).expect("writes");
        history.append(&[], &[task("a", "SUCCESS"), task("c", "FAILURE")]).expect("appends");

        let (_, kept) = History::open(folder.path(), 1 << 16).expect("opens");
        assert_eq!(kept.workers, [worker()]);
        let expected = [task("b", "SUCCESS"), task("a", "SUCCESS"), task("c", "FAILURE")];
        assert_eq!((kept.tasks.as_slice(), kept.torn), (&expected[..], 0));

        let path = folder.path().join(FILE);
        let text = fs::read(&path).expect("there");
        fs::write(&path, &text[..text.len() - 10]).expect("written");
        let (mut history, kept) = History::open(folder.path(), 1 << 16).expect("opens");
        assert_eq!((kept.tasks.as_slice(), kept.torn), (&expected[..2], 1));
        history.rewrite(&kept.workers, kept.tasks.iter().rev()).expect("writes");
        assert_eq!(History::open(folder.path(), 1 << 16).expect("opens").1.torn, 0);
    }

    #[test]
    fn the_file_stays_within_its_bound_with_the_newest() {
        let folder = tempfile::tempdir().expect("a folder");
        let max = 1 << 16;
        let (mut history, _) = History::open(folder.path(), max).expect("opens");
        let mut all: Vec<Task> = Vec::new();
        for n in 0..500 {
            all.push(task(&format!("t{n}"), "SUCCESS"));
            let newest = &all[all.len() - 1..];
            if !history.is_full() {
                history.append(&[], newest).expect("appends");
            }
            if history.is_full() {
                history.rewrite(&[], all.iter().rev()).expect("writes");
            }
            let size = fs::metadata(folder.path().join(FILE)).expect("there").len();
            assert!(size <= max, "{size}");
        }
        let (_, kept) = History::open(folder.path(), max).expect("opens");
        assert_eq!(kept.tasks.last(), all.last());
        assert!(kept.tasks.len() > 20 && kept.tasks.len() < 500);
    }

    #[test]
    fn another_format_is_moved_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FILE), b"\x00\x01shelve").expect("written");
        let (_, kept) = History::open(folder.path(), 1 << 16).expect("opens");
        assert_eq!((kept.tasks.len(), kept.torn), (0, 1));
        assert!(folder.path().join("flower.corrupt").exists());
    }
}
