//! The frame around every page: layout, fragments for the script, errors.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use tradewind_proto::sign::sha256_hex;

use super::{Shared, Ui, assets};
use crate::ops::Vital;

/// Sent by the script: answer with the content of `<main>` only.
const FRAGMENT: &str = "x-tradewind-fragment";
/// Scripts, styles and requests from this server only; no frames, no inline code.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// Seconds between reloads in a browser without scripts.
const RELOAD_SECONDS: u32 = 10;

/// A page's content.
pub(crate) struct Page {
    pub(crate) title: String,
    /// Where the page is, from the root: (text, address).
    pub(crate) trail: Vec<(String, String)>,
    pub(crate) main: Markup,
}

/// Why a page cannot be shown.
#[derive(Debug)]
pub(crate) struct Trouble {
    status: StatusCode,
    text: String,
}

impl Trouble {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(crate) fn missing(kind: &str, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("There is no {kind} {name:?}."))
    }
}

impl From<tradewind_store::Error> for Trouble {
    fn from(error: tradewind_store::Error) -> Self {
        use tradewind_store::Error;
        let status = match &error {
            Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::Exists { .. } => StatusCode::CONFLICT,
            Error::Config(_) | Error::Schema(_) | Error::Internal { .. } => {
                tracing::error!(%error, "page");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, format!("{error}."))
    }
}

/// A page or an error, framed; or only its content, or 304, for the script.
pub(crate) async fn show(ui: &Ui, headers: &HeaderMap, page: Result<Page, Trouble>) -> Response {
    let (status, page) = match page {
        Ok(page) => (StatusCode::OK, page),
        Err(trouble) => (trouble.status, error_page(&trouble)),
    };
    let main = html! { (scheduler_banner(ui).await) (page.main) }.into_string();
    let mut tag = sha256_hex(main.as_bytes());
    tag.truncate(16);
    let tag = format!("\"{tag}\"");
    let safety = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, FRAGMENT),
    ];
    let body = if headers.contains_key(FRAGMENT) {
        if headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == tag) {
            return (StatusCode::NOT_MODIFIED, safety).into_response();
        }
        maud::PreEscaped(main)
    } else {
        frame(ui, &page.title, &page.trail, &tag, &maud::PreEscaped(main))
    };
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()), (header::ETAG, tag)];
    (status, safety, kind, body.into_string()).into_response()
}

/// Anything that is no page.
pub(crate) async fn not_found(State(ui): State<Shared>, headers: HeaderMap) -> Response {
    let text = "There is no such page.";
    show(&ui, &headers, Err(Trouble::new(StatusCode::NOT_FOUND, text))).await
}

fn error_page(trouble: &Trouble) -> Page {
    let title = trouble.status.canonical_reason().unwrap_or("Error").to_owned();
    let main = html! {
        h1 { (title) }
        p.banner.bad role="alert" { (trouble.text) }
    };
    Page { title, trail: Vec::new(), main }
}

async fn scheduler_banner(ui: &Ui) -> Markup {
    let since = match ui.health.scheduler().await {
        Vital::Alive(_) => return html! {},
        Vital::Gone(at) => html! { "The last heartbeat was at " (super::text::time(at)) " UTC." },
        Vital::Unknown => html! { "None has reported yet." },
    };
    html! {
        p.banner.bad role="alert" {
            strong { "No live scheduler. " }
            "Nothing is started or moved forward. " (since) " Start one with "
            code { "tradewind scheduler" } "."
        }
    }
}

fn frame(ui: &Ui, title: &str, trail: &[(String, String)], tag: &str, main: &Markup) -> Markup {
    let version = assets::VERSION.as_str();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – Tradewind" }
                link rel="icon" type="image/svg+xml" href=(ui.links.asset("icon.svg", version));
                link rel="stylesheet" href=(ui.links.asset("tradewind.css", version));
                script src=(ui.links.asset("tradewind.js", version)) defer {}
                noscript { meta http-equiv="refresh" content=(RELOAD_SECONDS); }
            }
            body data-refresh=(ui.refresh_ms) data-etag=(tag) {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    a.brand href=(ui.links.dags()) {
                        img src=(ui.links.asset("icon.svg", version)) alt="" width="22" height="22";
                        "Tradewind"
                    }
                    nav aria-label="Main" {
                        a href=(ui.links.dags()) { "DAGs" }
                        a href=(ui.links.workers()) { "Workers" }
                    }
                    span.live title="Whether this page follows changes" { "live" }
                }
                @if !trail.is_empty() {
                    nav.trail aria-label="Where you are" {
                        @for (text, address) in trail { a href=(address) { (text) } }
                    }
                }
                main #main { (main) }
                footer { "All times are UTC." }
            }
        }
    }
}
