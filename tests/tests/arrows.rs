//! Holds the direction of dependencies between the crates, and the bans on third-party ones.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each crate may depend on (normal and build dependencies).
const ALLOWED: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("engine", &["proto"]),
    ("postgres", &[]),
    ("broker", &["proto", "postgres"]),
    ("store", &["proto", "engine", "postgres"]),
    ("scheduler", &["proto", "engine", "store", "broker"]),
    ("worker", &["proto", "engine", "broker"]),
    ("web", &["proto", "engine", "store", "broker"]),
    ("cli", &["proto", "engine", "store", "broker", "scheduler", "worker", "web"]),
];

/// Third-party crates that must not be named by one of ours.
const NEVER: &[(&str, &[&str])] = &[
    ("proto", &["tokio", "lapin", "redis", "rusqlite"]),
    ("engine", &["tokio", "lapin", "redis", "rusqlite", "bincode", "tracing"]),
    ("postgres", &["lapin", "redis", "rusqlite", "bincode", "deadpool-postgres"]),
    ("worker", &["rusqlite", "tokio-postgres", "deadpool-postgres", "lapin", "redis", "bincode"]),
    (
        "scheduler",
        &["rusqlite", "tokio-postgres", "deadpool-postgres", "lapin", "redis", "bincode"],
    ),
    ("web", &["rusqlite", "tokio-postgres", "deadpool-postgres", "lapin", "redis", "bincode"]),
    ("store", &["lapin", "redis", "bincode"]),
    ("broker", &["rusqlite", "bincode"]),
    ("cli", &["rusqlite", "tokio-postgres", "deadpool-postgres", "bincode"]),
];

/// Crates that must not be anywhere in the tree.
const BANNED: &[&str] =
    &["openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys", "async-std", "chrono", "serde_yaml"];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

/// Our crates (short name) with the names of their normal and build dependencies.
fn dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata["packages"].as_array().expect("packages");
    let mut found = BTreeMap::new();
    for package in packages {
        let Some(name) = package["name"].as_str().and_then(|n| n.strip_prefix("tradewind-")) else {
            continue;
        };
        let names = package["dependencies"].as_array().expect("dependencies").iter();
        let names = names.filter(|dependency| dependency["kind"] != "dev");
        let names = names.filter_map(|dependency| dependency["name"].as_str());
        found.insert(name.to_owned(), names.map(str::to_owned).collect());
    }
    found
}

#[test]
fn arrows_point_one_way() {
    let found = dependencies(&metadata());
    for (name, allowed) in ALLOWED {
        let ours = found[*name].iter().filter_map(|d| d.strip_prefix("tradewind-"));
        for dependency in ours {
            assert!(allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn third_party_crates_stay_in_their_rooms() {
    let found = dependencies(&metadata());
    for (name, never) in NEVER {
        for dependency in *never {
            assert!(!found[*name].contains(*dependency), "{name} must not name {dependency}");
        }
    }
}

#[test]
fn banned_crates_are_not_in_the_tree() {
    let metadata = metadata();
    // The lock file covers every platform and feature; the resolved graph is what can be built.
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    for node in nodes {
        let id = node["id"].as_str().expect("id");
        for banned in BANNED {
            let named = id.contains(&format!("#{banned}@")) || id.contains(&format!("/{banned}#"));
            assert!(!named, "{banned} is in the dependency tree: {id}");
        }
    }
}
