//! What is known of the files in the DAGs folder, and so which of them have to be parsed.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use tradewind_proto::sign::sha256_hex;

use super::list::{Found, Kind, Stamp, list};
use crate::options::IgnoreSyntax;

/// Largest `.py` file that is read to see whether it defines DAGs.
const SOURCE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// One file as it was read last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    stamp: Stamp,
    /// Whether it is to be parsed: an archive, or Python that mentions both `dag` and `airflow`.
    is_dag: bool,
    hash: String,
}

/// What a look through the folder has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// DAG files that are new or have another content.
    pub(super) changed: Vec<String>,
    /// Whether something changed that DAG files may import or read.
    pub(super) shared: bool,
}

/// All files that count, as of the last look. Reads files; holds no contents.
#[derive(Debug, Clone, Default)]
pub(super) struct Library {
    files: BTreeMap<String, Known>,
    looked: bool,
}

impl Library {
    /// Looks through the folder. On an error nothing changes.
    pub(super) fn refresh(&mut self, folder: &Path, syntax: IgnoreSyntax) -> io::Result<Changes> {
        let found = list(folder, syntax)?;
        let mut changes = Changes::default();
        let mut files = BTreeMap::new();
        for found in found {
            let known = self.files.get(&found.path);
            let now = match known {
                Some(known) if known.stamp == found.stamp => known.clone(),
                // Deleted or locked since it was listed: the next look tells.
                _ => match read(folder, &found) {
                    Ok(read) => read,
                    Err(_) => continue,
                },
            };
            if known.is_none_or(|known| known.hash != now.hash || known.is_dag != now.is_dag) {
                if now.is_dag {
                    changes.changed.push(found.path.clone());
                }
                changes.shared |= !now.is_dag || known.is_some_and(|known| !known.is_dag);
            }
            files.insert(found.path, now);
        }
        let gone =
            self.files.iter().any(|(path, known)| !known.is_dag && !files.contains_key(path));
        changes.shared = (changes.shared || gone) && self.looked;
        self.files = files;
        self.looked = true;
        Ok(changes)
    }

    /// The DAG files, sorted.
    pub(super) fn dag_files(&self) -> Vec<String> {
        let dags = self.files.iter().filter(|(_, known)| known.is_dag);
        dags.map(|(path, _)| path.clone()).collect()
    }
}

fn read(folder: &Path, found: &Found) -> io::Result<Known> {
    let path = folder.join(&found.path);
    if found.kind == Kind::Python && fs::metadata(&path)?.len() > SOURCE_BYTES_MAX {
        return Ok(Known { stamp: found.stamp, is_dag: false, hash: String::new() });
    }
    let bytes = fs::read(&path)?;
    let is_dag = match found.kind {
        Kind::Python => mentions_dags(&bytes),
        Kind::Archive => bytes.starts_with(b"PK"),
        Kind::Resource => false,
    };
    Ok(Known { stamp: found.stamp, is_dag, hash: sha256_hex(&bytes) })
}

/// Airflow's rule for what may be a DAG file.
fn mentions_dags(source: &[u8]) -> bool {
    contains(source, b"dag") && contains(source, b"airflow")
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Changes, Library};
    use crate::options::IgnoreSyntax::Glob;

    fn changed(files: &[&str], shared: bool) -> Changes {
        Changes { changed: files.iter().map(|f| (*f).to_owned()).collect(), shared }
    }

    #[test]
    fn only_changes_are_reported() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).expect("write");
        };
        let mut library = Library::default();
        let mut look = || library.refresh(folder.path(), Glob).expect("refresh");
        write("a.py", "from Airflow import DAG");
        write("helper.py", "x = 1");
        assert_eq!(look(), changed(&["a.py"], false));
        assert_eq!(look(), changed(&[], false));
        write("a.py", "from airflow import DAG  # again");
        assert_eq!(look(), changed(&["a.py"], false));
        write("helper.py", "x = 22");
        assert_eq!(look(), changed(&[], true));
        write("b.zip", "PK\u{3}\u{4}");
        assert_eq!(look(), changed(&["b.zip"], false));
        fs::remove_file(folder.path().join("helper.py")).expect("remove");
        assert_eq!(look(), changed(&[], true));
        fs::remove_file(folder.path().join("a.py")).expect("remove");
        assert_eq!(look(), changed(&[], false));
        assert_eq!(library.dag_files(), ["b.zip"]);
    }
}
