//! Golden vectors: what real Celery clients and workers sent is read as it was meant (see data/celery/README.md).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tradewind_proto::celery::canvas::{self, Applied};
use tradewind_proto::celery::{BadMessage, ControlRequest, Meta, Request, wide};
use tradewind_proto::message::TaskMessage;

const VERSIONS: [&str; 2] = ["5.6.3", "5.7.0"];

fn rows(version: &str, name: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/celery");
    let path = folder.join(version).join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let file: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(file["celery"], version);
    file["rows"].as_array().expect("rows").clone()
}

/// A captured message as the drivers hand it on.
fn message(row: &Value) -> TaskMessage {
    let envelope = row["envelope"]
        .as_str()
        .map(|text| serde_json::from_str::<Value>(text).expect("kombu's envelope is JSON"));
    let (headers, properties, body) = match &envelope {
        Some(e) => (&e["headers"], &e["properties"], &e["body"]),
        None => (&row["headers"], &row["properties"], &row["body_base64"]),
    };
    let meta = envelope.as_ref();
    let text = |name: &str| {
        let (dashed, plain) = (meta.map(|e| &e[name.replace('_', "-")]), &properties[name]);
        dashed.unwrap_or(plain).as_str().unwrap_or_default().to_owned()
    };
    TaskMessage {
        headers: headers.as_object().cloned().unwrap_or_default().into(),
        body: STANDARD.decode(body.as_str().expect("a body")).expect("base64"),
        content_type: text("content_type"),
        content_encoding: text("content_encoding"),
        correlation_id: properties["correlation_id"].as_str().unwrap_or_default().to_owned(),
        reply_to: properties["reply_to"].as_str().map(str::to_owned),
        priority: properties["priority"].as_u64().and_then(|p| u8::try_from(p).ok()).unwrap_or(0),
        expiration_ms: properties["expiration"].as_str().and_then(|ms| ms.parse().ok()),
    }
}

type Cases = BTreeMap<(String, u64), Vec<Result<Request, BadMessage>>>;

/// Every captured message of a version and broker, decoded, by case and protocol.
fn cases(version: &str, broker: &str) -> Cases {
    let mut cases = Cases::new();
    for row in rows(version, &format!("{broker}_messages")) {
        let name = row["name"].as_str().expect("name").to_owned();
        let key = (name, row["protocol"].as_u64().expect("protocol"));
        cases.entry(key).or_default().push(Request::decode(&message(&row)));
    }
    cases
}

fn each(mut check: impl FnMut(&str, &Cases)) {
    for version in VERSIONS {
        for broker in ["redis", "rabbitmq"] {
            let found = cases(version, broker);
            assert!(found.len() > 60, "{version} {broker}: only {} cases", found.len());
            check(&format!("{version} {broker}"), &found);
        }
    }
}

/// The first request of a case.
fn get<'a>(cases: &'a Cases, name: &str, protocol: u64) -> &'a Request {
    let found = &cases[&(name.to_owned(), protocol)][0];
    found.as_ref().unwrap_or_else(|bad| panic!("{name}, protocol {protocol}: {bad}"))
}

#[test]
fn every_message_is_read_but_for_what_is_refused_on_purpose() {
    let refused = BTreeMap::from([
        ("pickle", "content-type"),
        ("bzip2", "compression"),
        ("lzma", "compression"),
    ]);
    each(|of, cases| {
        for ((name, protocol), found) in cases {
            for one in found {
                match (one, refused.get(name.as_str())) {
                    (Ok(request), None) => {
                        assert!(!request.id.is_empty() && !request.task.is_empty());
                    }
                    (Err(bad), Some(kind)) => assert_eq!(bad.kind, *kind, "{of} {name}"),
                    (one, _) => panic!("{of}: {name}, protocol {protocol}: {one:?}"),
                }
            }
        }
    });
}

#[test]
fn arguments_arrive_as_they_were_given() {
    each(|of, cases| {
        for protocol in [2, 1] {
            let args = |name| Value::from(get(cases, name, protocol).args.clone());
            assert_eq!(args("args"), json!([2, 3]), "{of}");
            assert_eq!(args("no_args"), json!([]), "{of}");
            assert_eq!(args("unicode"), json!(["grüße 世界 🚢 \0\u{2028}"]), "{of}");
            let nested = json!([{"a": [1, 2.5, null, true, {"b": "c"}], "z": -(1_i64 << 62)}]);
            assert_eq!(args("nested"), nested, "{of}");
            assert_eq!(args("nan"), json!([[null, null, null]]), "{of}: JSON has no such numbers");
            assert_eq!(args("zlib"), json!(["z".repeat(500)]), "{of}");
            // Python's whole numbers have no bounds; a wrong one would go on unnoticed.
            let wide = get(cases, "big_integer", protocol);
            assert_eq!(wide::digits(&wide.args[0]), Some("1180591620717411303424"), "{of}");
            assert_eq!(wide.args_repr(), "(1180591620717411303424,)", "{of}");
            let body = wide.to_message().body;
            assert!(body.starts_with(b"[[1180591620717411303424],"), "{of}");
            let kwargs = &get(cases, "kwargs", protocol).kwargs;
            assert_eq!(Value::from(kwargs.clone()), json!({"x": 2, "y": 3}), "{of}");
        }
    });
}

#[test]
fn headers_mean_what_they_meant_to_the_client() {
    each(|of, cases| {
        let one = |name| get(cases, name, 2);
        let time = |time: Option<jiff::Timestamp>| time.expect("a time").to_string();
        assert_eq!(time(one("eta").eta), "2030-01-02T03:04:05.678901Z", "{of}");
        assert_eq!(time(one("eta_naive").eta), "2030-01-02T03:04:05.678901Z", "{of}");
        assert!(one("countdown").eta.is_some() && one("args").eta.is_none(), "{of}");
        assert_eq!(time(one("expires_time").expires), "2030-01-02T03:04:05.678901Z", "{of}");
        assert!(one("expires_seconds").expires.is_some(), "{of}");
        let limits = one("limits");
        assert_eq!((limits.time_limit, limits.soft_time_limit), (Some(30.0), Some(20.5)), "{of}");
        assert_eq!(one("retries").retries, 2, "{of}");
        assert_eq!(one("priority").priority, 5, "{of}");
        assert!(one("ignore_result").ignore_result && !one("args").ignore_result, "{of}");
        assert_eq!(one("reply_to").reply_to.as_deref(), Some("my-replies"), "{of}");
        assert_eq!(one("headers").headers.get("tenant"), Some(&json!("a")), "{of}");
        assert_eq!(one("args").argsrepr, "(2, 3)", "{of}");
        assert_eq!(one("args").root_id.as_deref(), Some(one("args").id.as_str()), "{of}");
        assert!(one("args").origin.as_deref().is_some_and(|o| o.ends_with("@capture")), "{of}");
        assert_eq!(one("send_task").task, "other.name", "{of}");
    });
}

#[test]
fn follow_ups_are_found_in_either_protocol() {
    each(|of, cases| {
        for protocol in [2, 1] {
            let link = get(cases, "link", protocol);
            assert_eq!(link.embed.callbacks[0].task, "fleet.mul", "{of}");
            assert_eq!(get(cases, "links", protocol).embed.callbacks.len(), 2, "{of}");
            assert_eq!(get(cases, "link_error", protocol).embed.errbacks[0].task, "fleet.echo");
            let group = &cases[&("group".to_owned(), protocol)];
            let ids: BTreeSet<_> =
                group.iter().map(|r| r.as_ref().expect("read").group.clone()).collect();
            assert_eq!((group.len(), ids.len()), (2, 1), "{of}: one group id");
        }
        let chain = &get(cases, "chain", 2).embed.chain;
        let names: Vec<&str> = chain.iter().map(|s| s.task.as_str()).collect();
        assert_eq!(names, ["fleet.echo", "fleet.mul"], "{of}: the last comes first");
        assert!(get(cases, "chain_immutable", 2).embed.chain[0].immutable, "{of}");
        if of.ends_with("redis") {
            let chord = get(cases, "chord", 2);
            assert_eq!(chord.embed.chord.as_ref().expect("a body").task, "fleet.tsum", "{of}");
            assert_eq!(chord.group_index, Some(0), "{of}");
        }
    });
}

#[test]
fn a_retry_message_is_read_as_the_request_that_made_it() {
    each(|of, cases| {
        for ((name, protocol), found) in cases {
            for request in found.iter().flatten() {
                let again = Request::decode(&request.to_message())
                    .unwrap_or_else(|bad| panic!("{of} {name} {protocol}: {bad}"));
                if *protocol == 2 {
                    assert_eq!(&again, request, "{of} {name}");
                } else {
                    // What protocol 1 cannot say gets its defaults.
                    let parts = |r: &Request| (r.id.clone(), r.args.clone(), r.embed.clone());
                    assert_eq!(parts(&again), parts(request), "{of} {name} {protocol}");
                }
            }
        }
    });
}

#[test]
fn stored_results_are_read_and_written_back_unchanged() {
    let mut states = BTreeSet::new();
    for version in VERSIONS {
        for row in rows(version, "redis_results") {
            let Some(text) = row["value"].as_str().filter(|text| text.contains("\"status\""))
            else {
                continue;
            };
            let meta = Meta::from_bytes(text.as_bytes()).expect("a meta");
            states.insert(meta.status.clone());
            let written: Value = serde_json::from_slice(&meta.to_bytes()).expect("JSON");
            let stored: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(written, stored, "{version} {}", row["name"]);
        }
    }
    let states: Vec<&str> = states.iter().map(String::as_str).collect();
    assert_eq!(states, ["FAILURE", "PROGRESS", "REVOKED", "SUCCESS"]);
}

#[test]
fn commands_are_read() {
    let mut methods = BTreeSet::new();
    for version in VERSIONS {
        for broker in ["redis", "rabbitmq"] {
            for row in rows(version, &format!("{broker}_control")) {
                for request in row["requests"].as_array().expect("requests") {
                    let body = message(request).body;
                    let command: ControlRequest = serde_json::from_slice(&body).expect("a command");
                    methods.insert(command.method);
                }
                for reply in row["replies"].as_array().expect("replies") {
                    let body: Map<String, Value> =
                        serde_json::from_slice(&message(reply).body).expect("a reply");
                    assert!(body.contains_key("worker@capture"), "{body:?}");
                }
            }
        }
    }
    for method in ["ping", "stats", "revoke", "rate_limit", "add_consumer", "query_task", "hello"] {
        assert!(methods.contains(method), "{method} was captured: {methods:?}");
    }
}

#[test]
fn the_body_of_a_chord_in_a_chain_keeps_the_id_that_its_client_waits_for() {
    for version in VERSIONS {
        let cases = cases(version, "redis");
        let request = get(&cases, "chain_of_groups", 2);
        let chord = request.embed.chain[0].clone();
        let wanted = chord.kwargs["body"]["options"]["task_id"].clone();
        let applied = Applied::by_client(jiff::Timestamp::UNIX_EPOCH);
        let plan = canvas::plan(chord, &applied, &mut || panic!("all ids are known"));
        let plan = plan.expect("a plan");
        assert_eq!(plan.sends.len(), 2, "{version}");
        for send in &plan.sends {
            let body = send.request.embed.chord.as_ref().expect("a body");
            assert_eq!(body.options["task_id"], wanted, "{version}");
        }
    }
}
