//! Pages for people: HTML rendered here, no script needed to read or to act.
//!
//! Handlers read the store and render; the two actions (trigger, pause) are one store call each.
//! There is no login: see [`crate::WebOptions`].

mod actions;
mod assets;
mod dag;
mod dags;
mod graph;
mod grid;
mod guard;
mod link;
mod log;
mod page;
mod run;
mod task;
mod text;
mod why;
mod workers;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::response::Redirect;
use axum::routing::{get, post};
use tradewind_broker::Broker;
use tradewind_proto::clock::{SharedClock, SharedIds};
use tradewind_store::Store;

pub(crate) use guard::Guard;
pub(crate) use link::Links;

use crate::ops::Health;

/// A trigger's conf, at most.
const FORM_BYTES_MAX: usize = 256 * 1024;

/// What every page needs.
#[derive(Debug)]
pub(crate) struct Ui {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: Option<Arc<dyn Broker>>,
    pub(crate) health: Health,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) queues: Vec<String>,
    pub(crate) links: Links,
    pub(crate) refresh_ms: u32,
}

/// The pages' state as handlers get it.
pub(crate) type Shared = Arc<Ui>;

/// All pages, relative to the base path.
pub(crate) fn router(ui: Shared, guard: Guard) -> Router {
    let home = ui.links.dags();
    Router::new()
        .route("/", get(move || async move { Redirect::to(&home) }))
        .route("/dags", get(dags::page))
        .route("/dags/{dag_id}", get(dag::page))
        .route("/dags/{dag_id}/pause", post(actions::pause))
        .route("/dags/{dag_id}/trigger", post(actions::trigger))
        .route("/dags/{dag_id}/runs/{run_id}", get(run::page))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", get(task::page))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log", get(log::download))
        .route("/workers", get(workers::page))
        .route("/static/{name}", get(assets::serve))
        .fallback(page::not_found)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::new(guard), guard::check))
        .with_state(ui)
}
