//! Looking through the DAGs folder. Reads directories and stamps only, no file contents but
//! `.airflowignore`.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::ignore::{IGNORE_FILE, IGNORE_FILE_BYTES_MAX, IgnoreFile, ignored};
use crate::options::IgnoreSyntax;

/// Folders below the DAGs folder that are followed.
const DEPTH_MAX: usize = 32;
/// Files that are looked at; a folder with more is surely not a DAGs folder.
const FILES_MAX: usize = 200_000;
/// Other files that DAG files are likely to read at import: a change of one parses all DAGs again.
const RESOURCES: [&str; 16] = [
    "json", "yaml", "yml", "toml", "ini", "cfg", "conf", "sql", "hql", "sh", "txt", "csv", "j2",
    "jinja", "jinja2", "html",
];

/// What a file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `.py`.
    Python,
    /// `.zip`.
    Archive,
    /// Read by DAG files, perhaps.
    Resource,
}

/// Changes when a file does, nearly always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    modified_ns: u128,
    bytes: u64,
}

/// A file that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Path relative to the DAGs folder, `/` separated.
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) stamp: Stamp,
}

/// All files that count, sorted by path.
///
/// # Errors
/// When the DAGs folder, or a folder in it, cannot be read: an incomplete list must not be taken for
/// deleted files.
pub(super) fn list(folder: &Path, syntax: IgnoreSyntax) -> io::Result<Vec<Found>> {
    let mut walk = Walk { syntax, found: Vec::new(), ancestors: BTreeSet::new(), full: false };
    walk.folder(folder, "", &[], 0)?;
    walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.found)
}

struct Walk {
    syntax: IgnoreSyntax,
    found: Vec<Found>,
    /// Real paths of the folders that we are in: symbolic links may lead back.
    ancestors: BTreeSet<PathBuf>,
    full: bool,
}

impl Walk {
    fn folder(
        &mut self,
        path: &Path,
        relative: &str,
        above: &[IgnoreFile],
        depth: usize,
    ) -> io::Result<()> {
        let real = fs::canonicalize(path)?;
        if depth > DEPTH_MAX || !self.ancestors.insert(real.clone()) {
            return Ok(());
        }
        let mut rules = above.to_vec();
        rules.extend(self.rules(path, relative));
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            self.entry(&entry, relative, &rules, depth)?;
        }
        self.ancestors.remove(&real);
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &DirEntry,
        folder: &str,
        rules: &[IgnoreFile],
        depth: usize,
    ) -> io::Result<()> {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { return Ok(()) };
        if name.starts_with('.') || name == "__pycache__" {
            return Ok(());
        }
        let relative = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        // Follows links; one that leads nowhere, or a file deleted just now, is no file.
        let Ok(metadata) = fs::metadata(entry.path()) else { return Ok(()) };
        if ignored(rules, &relative, metadata.is_dir()) {
            return Ok(());
        }
        if metadata.is_dir() {
            return match self.folder(&entry.path(), &relative, rules, depth + 1) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            };
        }
        if let (true, Some(kind)) = (metadata.is_file(), kind_of(name)) {
            self.add(Found { path: relative, kind, stamp: stamp(&metadata) });
        }
        Ok(())
    }

    fn add(&mut self, found: Found) {
        if self.found.len() < FILES_MAX {
            self.found.push(found);
        } else if !std::mem::replace(&mut self.full, true) {
            warn!(FILES_MAX, "the DAGs folder has too many files; the rest is not looked at");
        }
    }

    fn rules(&self, path: &Path, relative: &str) -> Option<IgnoreFile> {
        let file = path.join(IGNORE_FILE);
        let metadata = fs::metadata(&file).ok()?;
        if metadata.len() > IGNORE_FILE_BYTES_MAX {
            warn!(file = %file.display(), "ignore file is too large and was not read");
            return None;
        }
        let text = fs::read_to_string(&file).ok()?;
        Some(IgnoreFile::parse(relative, &text, self.syntax))
    }
}

fn kind_of(name: &str) -> Option<Kind> {
    let (_, extension) = name.rsplit_once('.')?;
    match extension {
        "py" => Some(Kind::Python),
        "zip" => Some(Kind::Archive),
        other => RESOURCES.contains(&other).then_some(Kind::Resource),
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let modified_ns = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Stamp { modified_ns, bytes: metadata.len() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{Kind, list};
    use crate::options::IgnoreSyntax;

    #[test]
    fn finds_what_counts_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |path: &str| folder.path().join(path);
        for dir in ["team", "__pycache__", ".git", "ignored"] {
            fs::create_dir(at(dir)).expect("folder");
        }
        for file in [
            "a.py",
            "team/b.py",
            "team/q.sql",
            "bundle.zip",
            "__pycache__/a.py",
            ".git/c.py",
            "ignored/d.py",
            "notes.md",
            "team/no.py",
        ] {
            fs::write(at(file), "x").expect("file");
        }
        fs::write(at(".airflowignore"), "ignored/\n").expect("file");
        fs::write(at("team/.airflowignore"), "no.py\n").expect("file");
        symlink(folder.path(), at("team/loop")).expect("link");
        symlink(at("nowhere"), at("dangling.py")).expect("link");
        let found = list(folder.path(), IgnoreSyntax::Glob).expect("list");
        let paths: Vec<_> = found.iter().map(|f| (f.path.as_str(), f.kind)).collect();
        let expected = [
            ("a.py", Kind::Python),
            ("bundle.zip", Kind::Archive),
            ("team/b.py", Kind::Python),
            ("team/q.sql", Kind::Resource),
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(list(&folder.path().join("none"), IgnoreSyntax::Glob).is_err());
    }
}
