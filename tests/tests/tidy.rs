//! Reads the source: what no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest file of ours, in lines.
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").to_owned()
}

/// Source files below `folder`, but not what builds and tools leave there.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("folder").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "__pycache__" && !name.starts_with('.') {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") || name.ends_with(".py") {
            found.push(path);
        }
    }
}

fn each(mut check: impl FnMut(&Path, &str)) {
    let mut found = Vec::new();
    sources(&root(), &mut found);
    assert!(found.len() > 100, "the sources were found");
    for path in found {
        let text = fs::read_to_string(&path).expect("source");
        check(&path, &text);
    }
}

#[test]
fn no_file_outgrows_its_duty() {
    each(|path, text| {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{}: {lines} lines, at most {LINES_MAX}", path.display());
    });
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    each(|path, text| {
        let rust = path.extension().is_some_and(|ending| ending == "rs");
        let documented = text.trim_start().starts_with("//!");
        assert!(!rust || documented, "{} starts without a `//!` text", path.display());
    });
}

#[test]
fn bincode_is_named_in_one_file() {
    each(|path, text| {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        let exempt = ["proto/src/codec/binary.rs", "tests/tests/tidy.rs", "tests/tests/arrows.rs"];
        let names = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("bincode::")
        });
        assert!(exempt.contains(&name.as_str()) || !names, "{name} names bincode");
    });
}
