//! What people can do from a page: trigger a run, pause a DAG. Both answer with a redirect, so that a
//! reload repeats nothing.

use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use tradewind_engine::trigger::ManualRequest;
use tradewind_store::manual::manual_run;

use super::page::{Trouble, show};
use super::{Shared, Ui};

/// Where a page's form wants it.
#[derive(Debug, Deserialize)]
pub(crate) struct PauseForm {
    paused: bool,
}

/// `POST /dags/{dag_id}/pause`.
pub(crate) async fn pause(
    State(ui): State<Shared>,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<PauseForm>,
) -> Response {
    match ui.store.set_paused(&dag_id, form.paused).await {
        Ok(()) => Redirect::to(&back(&ui, &headers, &dag_id)).into_response(),
        Err(error) => show(&ui, &headers, Err(error.into())).await,
    }
}

/// The list, if the switch was used there.
fn back(ui: &Ui, headers: &HeaderMap, dag_id: &str) -> String {
    let from = headers.get("referer").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path = from.split(['?', '#']).next().unwrap_or_default();
    if path.ends_with(&ui.links.dags()) { ui.links.dags() } else { ui.links.dag(dag_id) }
}

/// What to run with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TriggerForm {
    conf: String,
}

/// `POST /dags/{dag_id}/trigger`.
pub(crate) async fn trigger(
    State(ui): State<Shared>,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<TriggerForm>,
) -> Response {
    match start(&ui, &dag_id, &form.conf).await {
        Ok(run_id) => Redirect::to(&ui.links.run(&dag_id, &run_id)).into_response(),
        Err(trouble) => show(&ui, &headers, Err(trouble)).await,
    }
}

async fn start(ui: &Ui, dag_id: &str, conf: &str) -> Result<String, Trouble> {
    let conf = parse(conf)?;
    let dag = ui.store.dag(dag_id).await?.ok_or_else(|| Trouble::missing("DAG", dag_id))?;
    let now = ui.clock.now();
    let run = manual_run(&dag.spec, ui.ids.next(), ManualRequest::default(), conf, now);
    Ok(ui.store.trigger(run, now).await?.run_id)
}

fn parse(conf: &str) -> Result<Map<String, Value>, Trouble> {
    let refused = |reason: String| {
        let text =
            format!("The configuration is not a JSON object: {reason}. Go back and correct it.");
        Trouble::new(StatusCode::UNPROCESSABLE_ENTITY, text)
    };
    if conf.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(conf).map_err(|error| refused(error.to_string()))? {
        Value::Object(map) => Ok(map),
        _ => Err(refused("it is another kind of value".to_owned())),
    }
}
