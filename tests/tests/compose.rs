//! Holds `compose/` to the program: its configuration keys exist, its boards and alerts name metrics
//! that somebody exports, and Prometheus's own tools accept them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const ALERTS: &[&str] = &["compose/alerts.yml", "compose/alerts_fleet.yml"];
const BOARDS: &[&str] =
    &["compose/grafana/boards/tradewind.json", "compose/grafana/boards/fleet.json"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Words of `text` that start with `prefix`, made of the characters that names may have.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(prefix) && word.len() > prefix.len())
        .collect()
}

#[test]
fn configuration_keys_exist() {
    let keys = read("cli/src/config/keys.rs");
    let mut seen = 0;
    for file in ["compose/compose.yaml", "compose/Dockerfile"] {
        let text = read(file);
        for name in words(&text, "TRADEWIND__") {
            let (section, key) =
                name["TRADEWIND__".len()..].split_once("__").expect("SECTION__KEY");
            let declared = format!(r#"key!("{}" "{}""#, section.to_lowercase(), key.to_lowercase());
            assert!(keys.contains(&declared), "{file}: {name} is no configuration key");
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} keys found: the search is broken");
}

fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("readable"));
        }
    }
}

#[test]
fn boards_and_alerts_name_metrics_that_are_exported() {
    let mut code = String::new();
    for part in ["proto", "broker", "scheduler", "worker", "web"] {
        sources(&root().join(part).join("src"), &mut code);
    }
    let mut seen = BTreeSet::new();
    for file in ALERTS.iter().chain(BOARDS) {
        let text = read(file);
        let ours = words(&text, "tradewind_").into_iter();
        // Flower's and celery-exporter's names, which the monitor exports as well.
        for name in ours.chain(words(&text, "flower_")).chain(words(&text, "celery_")) {
            let plain = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let named = |name: &str| code.contains(&format!("\"{name}\""));
            let known = named(name) || plain.is_some_and(named);
            assert!(known, "{file}: nobody exports {name}");
            seen.insert(name.to_owned());
        }
    }
    assert!(seen.len() > 40, "only {seen:?} found: the search is broken");
}

#[test]
fn the_boards_have_panels_that_do_not_overlap() {
    for board in BOARDS {
        check_board(board);
    }
}

fn check_board(file: &str) {
    let board: Value = serde_json::from_str(&read(file)).expect("JSON");
    let mut taken = BTreeSet::new();
    for panel in board["panels"].as_array().expect("panels") {
        assert!(!panel["targets"].as_array().expect("targets").is_empty(), "{}", panel["title"]);
        let at = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        for x in at("x")..at("x") + at("w") {
            assert!(x < 24, "{} is off the board", panel["title"]);
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} overlaps another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn promtool_accepts_configuration_and_alerts() {
    let folder = root().join("compose");
    for arguments in [
        &["check", "config", "prometheus.yml"][..],
        &["check", "rules", "alerts.yml", "alerts_fleet.yml"],
        &["test", "rules", "alerts_test.yml", "alerts_fleet_test.yml"],
    ] {
        let output = Command::new("promtool").args(arguments).current_dir(&folder).output();
        let output = output.expect("promtool runs: apt-get install prometheus");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }
}
