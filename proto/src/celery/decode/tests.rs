//! Messages as clients of several kinds put them on the wire, and what must not pass.

use std::io::Write as _;

use serde_json::{Value, json};

use super::*;
use crate::headers::Headers;
use crate::limits::HEADERS_MAX;

/// Headers of `add.apply_async((2, 3), {'debug': True}, time_limit=30, soft_time_limit=20, …)`, Celery 5.7.
fn celery_headers() -> Headers {
    let headers = json!({
        "lang": "py", "task": "tasks.add", "id": "5f2c3bb8-1f4e-4d4e-8a3d-6d7b2f3f9f10", "shadow": null,
        "eta": "2026-11-20T23:48:47.227277+00:00", "expires": null, "group": "g1", "group_index": 2,
        "retries": 1, "timelimit": [30, 20], "root_id": "root", "parent_id": "parent",
        "argsrepr": "(2, 3)", "kwargsrepr": "{'debug': True}", "origin": "gen77@host",
        "ignore_result": false, "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {},
        "tenant": "acme", "traceparent": "00-1-2-01"
    });
    serde_json::from_value(headers).expect("headers")
}

const BODY: &str = r#"[[2, 3], {"debug": true}, {"callbacks": [{"task": "tasks.log", "args": [], "kwargs": {}, "options": {}, "subtask_type": null, "immutable": false}], "errbacks": null, "chain": [{"task": "c", "args": null, "kwargs": null, "options": null, "subtask_type": null, "immutable": null, "chord_size": null}], "chord": null}]"#;

fn message(headers: Headers, content_type: &str, body: &[u8]) -> TaskMessage {
    TaskMessage {
        headers,
        body: body.to_vec(),
        content_type: content_type.to_owned(),
        content_encoding: "utf-8".to_owned(),
        correlation_id: "5f2c3bb8-1f4e-4d4e-8a3d-6d7b2f3f9f10".to_owned(),
        reply_to: Some("replies".to_owned()),
        priority: 6,
        expiration_ms: None,
    }
}

fn json_message(body: &str) -> TaskMessage {
    message(celery_headers(), "application/json", body.as_bytes())
}

fn kind(message: &TaskMessage) -> &'static str {
    Request::decode(message).expect_err("a refusal").kind
}

#[test]
fn protocol_2_and_back() {
    let request = Request::decode(&json_message(BODY)).expect("a request");
    assert_eq!((request.task.as_str(), &request.args), ("tasks.add", &vec![json!(2), json!(3)]));
    assert_eq!(request.kwargs["debug"], json!(true));
    assert_eq!((request.time_limit, request.soft_time_limit), (Some(30.0), Some(20.0)));
    assert_eq!((request.group.as_deref(), request.group_index), (Some("g1"), Some(2)));
    assert_eq!((request.retries, request.priority), (1, 6));
    assert_eq!(request.eta.map(|at| at.as_microsecond()), Some(1_795_218_527_227_277));
    assert_eq!(request.embed.callbacks[0].task, "tasks.log");
    assert_eq!(request.embed.chain[0].rest["chord_size"], Value::Null);
    assert_eq!(request.headers["tenant"], json!("acme"));

    let again = request.to_message();
    let mut expected = celery_headers();
    let mut headers = again.headers.clone();
    assert_eq!(headers, expected);
    assert_eq!(Request::decode(&again).expect("a request"), request);
    // A retry keeps what is not its own to change.
    let mut retry = request;
    retry.retries += 1;
    headers = retry.to_message().headers;
    expected.insert("retries", 2);
    assert_eq!(headers, expected);
}

#[test]
fn protocol_1_has_all_in_the_body() {
    let body = json!({
        "task": "tasks.add", "id": "one", "args": [4], "kwargs": {"x": 1}, "retries": 0,
        "eta": "2026-11-20T23:48:47.227277", "expires": null, "utc": true, "callbacks": null,
        "errbacks": [{"task": "oops"}], "timelimit": [null, 5], "taskset": "g9",
        "chord": {"task": "body", "options": {"task_id": "b"}}
    });
    let mut plain = json_message(&body.to_string());
    plain.headers = Headers::new();
    let request = Request::decode(&plain).expect("a request");
    assert_eq!((request.task.as_str(), request.id.as_str()), ("tasks.add", "one"));
    assert_eq!(request.group.as_deref(), Some("g9"));
    assert_eq!(request.soft_time_limit, Some(5.0));
    assert_eq!(request.embed.errbacks[0].task, "oops");
    assert_eq!(request.embed.chord.as_ref().map(|s| s.task.as_str()), Some("body"));
    assert_eq!((request.argsrepr.as_str(), request.kwargsrepr.as_str()), ("(4,)", "{'x': 1}"));
    // No offset is UTC.
    assert_eq!(request.eta.map(|at| at.as_microsecond()), Some(1_795_218_527_227_277));
    assert!(request.headers.is_empty(), "{:?}", request.headers);
}

#[test]
fn the_hybrid_has_headers_and_an_object_body() {
    let body =
        json!({"task": "x", "id": "x", "args": [1], "kwargs": {}, "callbacks": [{"task": "cb"}]});
    let request = Request::decode(&json_message(&body.to_string())).expect("a request");
    assert_eq!((request.task.as_str(), request.root_id.as_deref()), ("tasks.add", Some("root")));
    assert_eq!((request.args.len(), request.embed.callbacks.len()), (1, 1));
}

#[test]
fn messagepack_is_the_same_request() {
    let packed: Value = serde_json::from_str(BODY).expect("json");
    let mut body = Vec::new();
    rmpv::encode::write_value(&mut body, &pack(&packed)).expect("packed");
    let mut sent = message(celery_headers(), "application/x-msgpack", &body);
    sent.content_encoding = "binary".to_owned();
    let request = Request::decode(&sent).expect("a request");
    assert_eq!(request, Request::decode(&json_message(BODY)).expect("a request"));
    sent.body.push(0xc0);
    assert_eq!(kind(&sent), "syntax");
    sent.body = [vec![0x91; 100], vec![0xc0]].concat();
    assert_eq!(kind(&sent), "depth");
    // An array that claims four thousand million members.
    sent.body = vec![0xdd, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(kind(&sent), "syntax");
}

fn pack(value: &Value) -> rmpv::Value {
    match value {
        Value::Null => rmpv::Value::Nil,
        Value::Bool(flag) => rmpv::Value::Boolean(*flag),
        Value::Number(number) => number.as_i64().expect("an integer").into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => rmpv::Value::Array(items.iter().map(pack).collect()),
        Value::Object(members) => {
            rmpv::Value::Map(members.iter().map(|(k, v)| (k.as_str().into(), pack(v))).collect())
        }
    }
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(body).expect("compressed");
    out.finish().expect("compressed")
}

fn zstd(body: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(body, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn compressed_bodies_are_read_within_the_limit() {
    let plain = Request::decode(&json_message(BODY)).expect("a request");
    let bomb = format!("[[\"{}\"], {{}}, {{}}]", "x".repeat(5 * 1024 * 1024));
    type Pack = fn(&[u8]) -> Vec<u8>;
    for (name, pack) in [("application/x-gzip", zlib as Pack), ("application/zstd", zstd as Pack)] {
        let mut sent = message(celery_headers(), "application/json", &pack(BODY.as_bytes()));
        sent.set_header("compression", name);
        let request = Request::decode(&sent).expect("a request");
        assert_eq!(request, plain);
        assert!(!request.to_message().headers.contains_key("compression"));
        sent.body.truncate(10);
        assert_eq!(kind(&sent), "compression");
        sent.body = pack(bomb.as_bytes());
        assert_eq!(kind(&sent), "too-large");
    }
    for name in ["application/x-bz2", "application/x-brotli", "application/x-lzma", "rot13"] {
        let mut sent = json_message(BODY);
        sent.set_header("compression", name);
        let bad = Request::decode(&sent).expect_err("a refusal");
        assert!(bad.kind == "compression" && bad.reason.contains(name), "{bad}");
    }
    assert_eq!(kind(&json_message(&bomb)), "too-large");
}

#[test]
fn bare_numbers_of_python_become_null() {
    let body = r#"[[NaN, -Infinity, Infinity, "NaN \" Infinity", {"NaN": NaN}], {}, {}]"#;
    let request = Request::decode(&json_message(body)).expect("a request");
    let expected = json!([null, null, null, "NaN \" Infinity", {"NaN": null}]);
    assert_eq!(Value::Array(request.args), expected);
}

#[test]
fn depth_is_bounded_before_parsing() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        json_message(&format!("[[{open}{close}, \"[[[[\\\"[[\"], {{}}, {{}}]"))
    };
    assert!(Request::decode(&nested(64)).is_ok());
    assert_eq!(kind(&nested(65)), "depth");
    assert_eq!(kind(&json_message(&"[".repeat(3_000_000))), "depth");
}

#[test]
fn other_content_is_refused_with_what_to_do() {
    for (content_type, word) in [
        ("application/x-python-serialize", "pickle"),
        ("application/x-yaml", "YAML"),
        ("text/yaml", "YAML"),
        ("application/data", "auth"),
        ("application/x-tradewind", "not known"),
    ] {
        let bad = Request::decode(&message(celery_headers(), content_type, b"\x80\x04."));
        let bad = bad.expect_err("a refusal");
        assert!(bad.kind == "content-type" && bad.reason.contains(word), "{bad}");
        assert!(bad.reason.contains("task_serializer"), "{bad}");
    }
    let mut latin = json_message(BODY);
    latin.content_encoding = "latin-1".to_owned();
    assert_eq!(kind(&latin), "content-encoding");
}

#[test]
fn wrong_shapes_are_refused_and_named() {
    for body in
        ["[1, 2]", "7", "[{}, {}, {}]", "[[], [], {}]", "[[], {}, 3]", "[[], {}, {\"chain\": [7]}]"]
    {
        assert_eq!(kind(&json_message(body)), "shape", "{body}");
    }
    for body in ["", "[[1], {}", "{\"a\"", "[[\"\\ud800\"], {}, {}]", "\u{0}"] {
        assert_eq!(kind(&json_message(body)), "syntax", "{body}");
    }
    for (header, value) in [
        ("id", json!(null)),
        ("id", json!(7)),
        ("id", json!("")),
        ("retries", json!(-1)),
        ("eta", json!("soon")),
        ("expires", json!(3)),
        ("timelimit", json!([1])),
        ("timelimit", json!([-1, null])),
        ("group_index", json!("x")),
        ("ignore_result", json!("yes")),
    ] {
        let mut sent = json_message(BODY);
        sent.headers.insert(header, value);
        let bad = Request::decode(&sent).expect_err("a refusal");
        assert!(bad.kind == "header" && bad.reason.contains(header), "{header}: {bad}");
    }
    let mut nothing = json_message("[[], {}, {}]");
    nothing.headers = Headers::new();
    assert_eq!(kind(&nothing), "shape");
    // Whichever protocol they come in.
    let many = (0..=HEADERS_MAX).map(|n| (format!("x{n}"), json!(n)));
    let mut body = Map::from_iter(many.clone());
    body.extend([("task".to_owned(), json!("a")), ("id".to_owned(), json!("1"))]);
    let plain = message(Headers::new(), "application/json", json!(body).to_string().as_bytes());
    let mut sent = json_message(BODY);
    many.for_each(|(name, value)| drop(sent.headers.insert(name, value)));
    for sent in [plain, sent] {
        let bad = Request::decode(&sent).expect_err("a refusal");
        assert!(bad.kind == "header" && bad.reason.contains("1024 are allowed"), "{bad}");
    }
}
