//! Tasks, as their events told them.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::params::Params;
use super::{Answer, Refusal, Shown};
use crate::flower::FlowerHandle;
use crate::flower::state::{Query, Search, SortBy};

/// How times are written in the query.
const MINUTES: &str = "%Y-%m-%d %H:%M";

/// `GET /api/tasks`
pub(super) async fn list(
    State(flower): State<FlowerHandle>,
    params: Params,
) -> Result<Response, Refusal> {
    let search = match Search::parse(params.text("search").unwrap_or_default()) {
        Ok(search) => search,
        Err(error) => {
            let body = axum::Json(json!({"error": error.to_string()}));
            return Ok((StatusCode::BAD_REQUEST, body).into_response());
        }
    };
    let query = Query { search: Some(search), ..query(&params)? };
    let inner = flower.shared.lock();
    let mut tasks = Map::new();
    for task in inner.monitor.list(&query) {
        let mut object = task.to_object();
        // A task that no worker has taken has no such member, and others have it last.
        if let Some(worker) = object.shift_remove("worker").filter(|worker| !worker.is_null()) {
            object.insert("worker".to_owned(), worker);
        }
        tasks.insert(task.uuid.clone(), Value::Object(object));
    }
    drop(inner);
    Ok(Shown(Value::Object(tasks)).into_response())
}

fn query(params: &Params) -> Result<Query, Refusal> {
    let filter = |name: &str| params.text(name).filter(|value| *value != "All").map(str::to_owned);
    let sort_by = params.text("sort_by");
    let sort = match sort_by {
        None => None,
        Some(name) => Some(SortBy::parse(name.trim_start_matches('-')).ok_or_else(|| {
            let names = SortBy::NAMES;
            Refusal::bad(format!("Invalid sort_by '{name}', expected one of {names}"))
        })?),
    };
    let offset: i64 = params.number("offset", "int")?.unwrap_or(0);
    let limit: Option<i64> = params.number("limit", "int")?;
    let whole = |number: i64| usize::try_from(number.max(0)).unwrap_or(usize::MAX);
    Ok(Query {
        worker: filter("workername"),
        name: filter("taskname"),
        state: filter("state"),
        received_start: time(params.text("received_start"))?,
        received_end: time(params.text("received_end"))?,
        search: None,
        sort,
        descending: sort_by.is_some_and(|name| name.starts_with('-')),
        offset: whole(offset),
        limit: limit.map(whole),
    })
}

/// A time of this machine's zone, as Flower reads it.
fn time(text: Option<&str>) -> Result<Option<f64>, Refusal> {
    let Some(text) = text else {
        return Ok(None);
    };
    let at = DateTime::strptime(MINUTES, text).and_then(|at| at.to_zoned(TimeZone::system()));
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit in 53 bits")]
    let seconds = at.map(|at| at.timestamp().as_second() as f64);
    seconds.map(Some).map_err(|_| {
        Refusal::bad("Invalid received_start or received_end, expected format 'YYYY-MM-DD HH:MM'")
    })
}

/// `GET /api/task/types`
pub(super) async fn types(State(flower): State<FlowerHandle>) -> Answer {
    let types = flower.shared.lock().monitor.types();
    Ok(Shown(json!({"task-types": types})))
}

/// `GET /api/task/info/<id>`
pub(super) async fn info(State(flower): State<FlowerHandle>, Path(id): Path<String>) -> Answer {
    let inner = flower.shared.lock();
    let task = inner.monitor.task(&id).ok_or_else(|| Refusal::unknown("task", &id))?;
    Ok(Shown(Value::Object(task.to_object())))
}
