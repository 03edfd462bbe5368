//! The pages: they show what is there, they escape it, and actions work without a script.

mod common;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use common::{World, get, post_form, send, task};
use serde_json::{Value, json};
use tradewind_proto::dag::ImportError;
use tradewind_proto::execution::LogChunk;
use tradewind_proto::state::{RunState, TaskState};
use tradewind_store::model::{Dispatch, RunFilter};
use tradewind_store::{DagStore as _, DataStore as _, RunStore as _};
use tradewind_web::WebOptions;

const HOSTILE: &str = "<script>alert(1)</script>\"'&";

async fn world() -> World {
    let world = World::new().await;
    let dag = json!({"dag_id": "etl", "schedule_text": "@daily", "tags": ["nightly"],
        "tasks": [task("extract", &[]), task("load", &["extract"])]});
    world.sync("etl.py", &[dag]).await;
    world.scheduler().await;
    world
}

async fn log(world: &World, dispatch: &Dispatch, text: &str) {
    let chunk = LogChunk {
        attempt_id: dispatch.attempt_id,
        token: dispatch.token,
        seq: 0,
        text: text.to_owned(),
    };
    assert_eq!(world.store.append_logs(&[chunk]).await.expect("appends"), 0);
}

#[tokio::test]
async fn the_root_leads_to_the_list() {
    let world = world().await;
    let request = Request::get("/").header("host", "localhost").body(Body::empty());
    let (status, response, _) = send(&world.router(), request.expect("a request")).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(response.headers()[header::LOCATION], "/dags");
}

#[tokio::test]
async fn the_list_shows_runs_errors_and_a_dead_scheduler() {
    let world = world().await;
    let run = world.start("etl", "r1", json!({})).await;
    world.end_run(run, RunState::Failed).await;
    let error = ImportError {
        message: "SyntaxError: invalid syntax".to_owned(),
        line: Some(12),
        detail: String::new(),
    };
    world.broken("bad.py", error).await;

    let (status, page) = get(&world.router(), "/dags").await;
    assert_eq!(status, StatusCode::OK);
    for text in ["etl", "@daily", "nightly", "bad.py", ":12", "SyntaxError", "r1: failed"] {
        assert!(page.contains(text), "{text} is missing:\n{page}");
    }
    assert!(!page.contains("No live scheduler"), "{page}");

    world.clock.advance(31_000);
    let (_, page) = get(&world.router(), "/dags").await;
    assert!(page.contains("No live scheduler"), "{page}");
}

#[tokio::test]
async fn the_list_is_filtered_by_name_tag_and_pause() {
    let world = world().await;
    world.sync("b.py", &[json!({"dag_id": "other", "tasks": [task("t", &[])]})]).await;
    world.store.set_paused("other", true).await.expect("pauses");
    let router = world.router();
    let listed = |page: &str, dag: &str| page.contains(&format!(r#"href="/dags/{dag}""#));
    for (query, etl, other) in [
        ("", true, true),
        ("?q=ETL", true, false),
        ("?q=nightly", true, false),
        ("?show=paused", false, true),
        ("?show=active", true, false),
    ] {
        let (_, page) = get(&router, &format!("/dags{query}")).await;
        assert_eq!((listed(&page, "etl"), listed(&page, "other")), (etl, other), "{query}");
    }
}

#[tokio::test]
async fn run_and_task_pages_say_what_happened_and_why_something_waits() {
    let world = world().await;
    let run = world.start("etl", "r1", json!({"day": 3})).await;
    let dispatch = world.queue(run, "extract").await;
    let router = world.router();
    let (_, page) = get(&router, "/dags/etl/runs/r1").await;
    assert!(page.contains("no worker is listening on queue default"), "{page}");
    assert!(page.contains("waits for extract"), "{page}");

    world.claim(&dispatch).await;
    log(&world, &dispatch, "2026-11-20T08:00:01.000Z stderr it broke\n").await;
    world.clock.advance(1_500);
    world.finish(&dispatch, TaskState::Failed, "Traceback\nValueError: no rows").await;
    let (_, page) = get(&router, "/dags/etl/runs/r1").await;
    assert!(page.contains("ValueError: no rows") && page.contains("1.5 s"), "{page}");
    assert!(page.contains("<svg"), "graph and bars are drawn");

    let (status, page) = get(&router, "/dags/etl/runs/r1/tasks/extract").await;
    assert_eq!(status, StatusCode::OK);
    for text in ["it broke", "ValueError: no rows", "celery@box", "Log of try 1", "4711"] {
        assert!(page.contains(text), "{text} is missing:\n{page}");
    }
    let path = format!("/dags/etl/runs/r1/tasks/extract/log?attempt={}", dispatch.attempt_id);
    let (status, text) = get(&router, &path).await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::OK, "2026-11-20T08:00:01.000Z stderr it broke\n")
    );
    let foreign = format!("/dags/etl/runs/r1/tasks/load/log?attempt={}", dispatch.attempt_id);
    assert_eq!(get(&router, &foreign).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn hostile_names_and_texts_are_escaped_everywhere() {
    let world = World::new().await;
    let mut hostile = task(HOSTILE, &[]);
    hostile["operator"] = json!(HOSTILE);
    hostile["queue"] = json!(HOSTILE);
    hostile["args"] = json!({"bash_command": HOSTILE});
    let dag: Value = json!({"dag_id": HOSTILE, "description": HOSTILE, "tags": [HOSTILE],
        "owners": [HOSTILE], "schedule_text": HOSTILE, "doc_md": HOSTILE,
        "params": {HOSTILE: HOSTILE}, "tasks": [hostile]});
    world.sync(HOSTILE, &[dag]).await;
    let error = ImportError { message: HOSTILE.to_owned(), line: None, detail: HOSTILE.to_owned() };
    world.broken("other.py", error).await;
    let run = world.start(HOSTILE, HOSTILE, json!({HOSTILE: HOSTILE})).await;
    let dispatch = world.queue(run, HOSTILE).await;
    world.claim(&dispatch).await;
    log(&world, &dispatch, &format!("2026-11-20T08:00:01.000Z stdout {HOSTILE}\n{HOSTILE}\n"))
        .await;
    world.finish(&dispatch, TaskState::Failed, HOSTILE).await;

    let name = "%3Cscript%3Ealert%281%29%3C%2Fscript%3E%22%27%26";
    let dag = format!("/dags/{name}");
    let run = format!("{dag}/runs/{name}");
    let task = format!("{run}/tasks/{name}");
    let router = world.router();
    for path in ["/dags", "/dags?q=%3Cscript%3E", "/workers", &dag, &run, &task] {
        let (status, page) = get(&router, path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(!page.contains("<script>"), "{path}:\n{page}");
        assert!(!page.contains("alert(1)</script>\"'"), "{path}:\n{page}");
    }
    let (status, page) = get(&router, "/dags/%3Cscript%3Ex").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
}

#[tokio::test]
async fn pausing_and_triggering_work_by_plain_forms() {
    let world = world().await;
    let router = world.router();
    let (status, response) = post_form(&router, "/dags/etl/pause", "paused=true").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(response.headers()[header::LOCATION], "/dags/etl");
    assert!(world.store.dag("etl").await.expect("reads").expect("the DAG").is_paused);

    let (status, response) =
        post_form(&router, "/dags/etl/trigger", "conf=%7B%22day%22%3A+7%7D").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let runs = world.store.runs(RunFilter::default()).await.expect("reads");
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].run_id, "manual__2026-11-20T08:00:00+00:00");
    assert_eq!(Value::Object(runs[0].conf.clone()), json!({"day": 7}));
    let to = response.headers()[header::LOCATION].to_str().expect("text").to_owned();
    let (status, page) = get(&router, &to).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("The DAG is paused"), "says why it does not start: {page}");

    for (form, expected) in [
        ("conf=%5B1%5D", StatusCode::UNPROCESSABLE_ENTITY),
        ("conf=%7B", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(post_form(&router, "/dags/etl/trigger", form).await.0, expected, "{form}");
    }
    let (status, _) = post_form(&router, "/dags/none/trigger", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn actions_from_other_sites_are_refused() {
    let world = world().await;
    let router = world.router();
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("x-other", "no word on the origin"),
    ] {
        let request = Request::post("/dags/etl/pause")
            .header("host", "localhost:8080")
            .header(name, value)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from("paused=true"));
        let (status, _, _) = send(&router, request.expect("a request")).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    assert!(!world.store.dag("etl").await.expect("reads").expect("the DAG").is_paused);

    let request = Request::get("/dags").header("host", "rebound.example").body(Body::empty());
    let (status, _, _) = send(&router, request.expect("a request")).await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn an_open_page_gets_only_what_changed() {
    let world = world().await;
    let router = world.router();
    let ask = |tag: &str| {
        Request::get("/dags")
            .header("host", "localhost")
            .header("x-tradewind-fragment", "1")
            .header(header::IF_NONE_MATCH, tag)
            .body(Body::empty())
            .expect("a request")
    };
    let (status, response, fragment) = send(&router, ask("\"\"")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!fragment.contains("<html") && fragment.contains("etl"), "{fragment}");
    let tag = response.headers()[header::ETAG].to_str().expect("text").to_owned();
    let (status, _, body) = send(&router, ask(&tag)).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));

    world.start("etl", "r1", json!({})).await;
    let (status, _, fragment) = send(&router, ask(&tag)).await;
    assert_eq!(status, StatusCode::OK);
    assert!(fragment.contains("r1: running"), "{fragment}");
}

#[tokio::test]
async fn a_prefix_is_in_every_link_and_machines_are_found_at_both_places() {
    let world = world().await;
    let options = WebOptions {
        base_url: Some("https://flows.example/team".to_owned()),
        ..WebOptions::default()
    };
    let router = world.server(options, None).router();
    let (status, page) = get(&router, "/team/dags").await;
    assert_eq!(status, StatusCode::OK);
    for part in page.split("href=\"").skip(1).chain(page.split("action=\"").skip(1)) {
        assert!(part.starts_with("/team/") || part.starts_with("#main"), "{part:.60}");
    }
    assert_eq!(get(&router, "/dags").await.0, StatusCode::NOT_FOUND);
    for path in ["/health", "/team/health", "/metrics", "/team/metrics"] {
        assert_eq!(get(&router, path).await.0, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn pages_forbid_foreign_code_and_frames() {
    let world = world().await;
    let request = Request::get("/dags").header("host", "localhost").body(Body::empty());
    let (_, response, page) = send(&world.router(), request.expect("a request")).await;
    let policy = response.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!page.contains(" style=") && !page.contains(" onclick="), "the policy forbids inline");
    for asset in ["tradewind.css", "tradewind.js", "icon.svg"] {
        assert!(page.contains(asset));
        assert_eq!(get(&world.router(), &format!("/static/{asset}")).await.0, StatusCode::OK);
    }
    assert_eq!(get(&world.router(), "/static/../Cargo.toml").await.0, StatusCode::NOT_FOUND);
}
