//! Style sheet, script and icon, compiled in.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tradewind_proto::sign::sha256_hex;

const CSS: &str = include_str!("assets/tradewind.css");
const JS: &str = include_str!("assets/tradewind.js");
const ICON: &str = include_str!("assets/icon.svg");

/// Changes with every change of an asset, so that browsers may keep them for good.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = sha256_hex([CSS, JS, ICON].concat().as_bytes());
    hash.truncate(12);
    hash
});

/// `GET /static/{name}`.
pub(crate) async fn serve(Path(name): Path<String>) -> Response {
    let (kind, body) = match name.as_str() {
        "tradewind.css" => ("text/css; charset=utf-8", CSS),
        "tradewind.js" => ("text/javascript; charset=utf-8", JS),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return (StatusCode::NOT_FOUND, "no such file\n").into_response(),
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}
