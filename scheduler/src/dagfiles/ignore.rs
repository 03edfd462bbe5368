//! `.airflowignore`: which files of the DAGs folder are none of our business.
//!
//! A file's lines hold for its folder and everything below. Glob syntax follows `.gitignore` without
//! character classes; regexp syntax searches the path relative to the DAGs folder.

use regex_automata::nfa::thompson::pikevm::PikeVM;
use tracing::warn;

use crate::glob;
use crate::options::IgnoreSyntax;

/// Name of the ignore file.
pub(super) const IGNORE_FILE: &str = ".airflowignore";
/// Longest ignore file that is read.
pub(super) const IGNORE_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One line.
#[derive(Debug, Clone)]
enum Rule {
    Glob { segments: Vec<String>, anchored: bool, folders_only: bool, negated: bool },
    Regexp(Box<PikeVM>),
}

/// The rules of one ignore file.
#[derive(Debug, Clone)]
pub(super) struct IgnoreFile {
    /// Its folder, relative to the DAGs folder; empty for the DAGs folder itself.
    folder: String,
    rules: Vec<Rule>,
}

impl IgnoreFile {
    /// Reads the rules. A pattern that is not valid is logged and left out.
    pub(super) fn parse(folder: &str, text: &str, syntax: IgnoreSyntax) -> Self {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let rules = lines
            .filter_map(|line| match syntax {
                IgnoreSyntax::Glob => glob_rule(line),
                IgnoreSyntax::Regexp => regexp_rule(folder, line),
            })
            .collect();
        Self { folder: folder.to_owned(), rules }
    }
}

fn glob_rule(line: &str) -> Option<Rule> {
    let (negated, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
    let folders_only = line.ends_with('/');
    let line = line.trim_end_matches('/');
    let anchored = line.contains('/');
    let segments: Vec<String> =
        line.trim_start_matches('/').split('/').map(str::to_owned).collect();
    let empty = segments.iter().all(String::is_empty);
    (!empty).then_some(Rule::Glob { segments, anchored, folders_only, negated })
}

fn regexp_rule(folder: &str, line: &str) -> Option<Rule> {
    // Airflow 2 cuts comments off the end of lines.
    let pattern = line.split('#').next().unwrap_or(line).trim();
    match PikeVM::new(pattern) {
        Ok(vm) => Some(Rule::Regexp(Box::new(vm))),
        Err(error) => {
            warn!(folder, pattern, %error, "pattern in {IGNORE_FILE} is not a valid expression");
            None
        }
    }
}

/// Whether a path (relative to the DAGs folder) is to be left out. `files` are those of its folder
/// and the folders above, outermost first; the last matching rule decides.
pub(super) fn ignored(files: &[IgnoreFile], path: &str, is_folder: bool) -> bool {
    let mut ignored = false;
    for file in files {
        let below = if file.folder.is_empty() {
            path
        } else {
            path.strip_prefix(&file.folder).map_or(path, |rest| rest.trim_start_matches('/'))
        };
        for rule in &file.rules {
            match rule {
                Rule::Regexp(vm) => ignored |= vm.is_match(&mut vm.create_cache(), path),
                Rule::Glob { segments, anchored, folders_only, negated } => {
                    let applies = is_folder || !folders_only;
                    if applies && glob_matches(segments, *anchored, below) {
                        ignored = !negated;
                    }
                }
            }
        }
    }
    ignored
}

fn glob_matches(segments: &[String], anchored: bool, path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    if anchored {
        return segments_match(segments, &parts);
    }
    // Folders above were asked before: only the last part is new.
    match (segments, parts.last()) {
        ([pattern], Some(name)) => glob::matches(pattern, name),
        _ => false,
    }
}

fn segments_match(pattern: &[String], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, rest)) if first == "**" => {
            (0..=path.len()).any(|skip| segments_match(rest, &path[skip..]))
        }
        Some((first, rest)) => path
            .split_first()
            .is_some_and(|(part, parts)| glob::matches(first, part) && segments_match(rest, parts)),
    }
}

#[cfg(test)]
mod tests {
    use super::{IgnoreFile, ignored};
    use crate::options::IgnoreSyntax;

    fn glob(folder: &str, text: &str) -> IgnoreFile {
        IgnoreFile::parse(folder, text, IgnoreSyntax::Glob)
    }

    #[test]
    fn globs_follow_gitignore() {
        let files = [glob("", "# comment\n*_test.py\n/top.py\nbuild/\na/**/x.py\n!keep_test.py\n")];
        for (path, folder, expected) in [
            ("etl_test.py", false, true),
            ("deep/etl_test.py", false, true),
            ("keep_test.py", false, false),
            ("top.py", false, true),
            ("deep/top.py", false, false),
            ("build", true, true),
            ("build", false, false),
            ("a/x.py", false, true),
            ("a/b/c/x.py", false, true),
            ("b/x.py", false, false),
        ] {
            assert_eq!(ignored(&files, path, folder), expected, "{path}");
        }
    }

    #[test]
    fn rules_of_a_folder_hold_below_it() {
        let files = [glob("", "*.py"), glob("team", "!wanted.py\n/only.py")];
        assert!(!ignored(&files, "team/wanted.py", false));
        assert!(ignored(&files, "team/only.py", false));
        assert!(ignored(&files, "team/other.py", false));
    }

    #[test]
    fn expressions_are_searched_in_the_path() {
        let text = "project_a # comment\ntenant_[\\d]\n([broken";
        let files = [IgnoreFile::parse("", text, IgnoreSyntax::Regexp)];
        assert!(ignored(&files, "project_a_dag.py", false));
        assert!(ignored(&files, "sub/tenant_1.py", false));
        assert!(!ignored(&files, "sub/tenant_x.py", false));
    }
}
