//! Refuses requests that another web site made a browser send.
//!
//! Two doors: an action must come from our own pages (no cookie or token is involved, so the browser's
//! word on the origin is what counts), and while we listen on loopback the host name must be ours,
//! because any site may point its name at 127.0.0.1.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::options::Base;

/// What is let in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    /// Only these hosts, besides loopback names; none: any.
    pub(crate) hosts: Option<Vec<String>>,
    /// Origin of `base_url`, allowed besides the request's own host.
    pub(crate) origin: Option<String>,
}

impl Guard {
    /// For a server that listens on `host`.
    pub(crate) fn new(host: &str, allowed: &[String], base: &Base) -> Self {
        let loopback = is_loopback(host);
        let hosts = loopback.then(|| {
            let base = base.authority.as_deref().map(|a| without_port(a).to_owned());
            allowed.iter().cloned().chain(base).collect()
        });
        Self { hosts, origin: base.origin.clone() }
    }

    fn host_is_ours(&self, headers: &HeaderMap) -> bool {
        let Some(hosts) = &self.hosts else { return true };
        let Some(host) = text(headers, header::HOST) else { return false };
        let name = without_port(host);
        is_loopback(name) || hosts.iter().any(|h| h.eq_ignore_ascii_case(name))
    }

    fn origin_is_ours(&self, headers: &HeaderMap) -> bool {
        if let Some(site) = headers.get("sec-fetch-site") {
            return site == "same-origin";
        }
        let Some(origin) = text(headers, header::ORIGIN) else { return false };
        if self.origin.as_deref() == Some(origin) {
            return true;
        }
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_some() && authority == text(headers, header::HOST)
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn without_port(authority: &str) -> &str {
    let port = authority
        .rsplit_once(':')
        .filter(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    match port {
        // `::1` alone has no port, `[::1]:8080` has one.
        Some((name, _)) if !name.contains(':') || name.ends_with(']') => name,
        _ => authority,
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The middleware.
pub(crate) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    if !guard.host_is_ours(request.headers()) {
        let text =
            "this host name is not served here; add it to [web] allowed_hosts or set base_url\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !guard.origin_is_ours(request.headers()) {
        let text = "refused: actions are taken from pages of this server only (Origin header)\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::Guard;
    use crate::options::Base;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn actions_need_our_own_origin() {
        let base = Base { origin: Some("https://flows.example".to_owned()), ..Base::default() };
        let guard = Guard::new("127.0.0.1", &[], &base);
        let ours = |pairs: &[(&'static str, &'static str)]| guard.origin_is_ours(&headers(pairs));
        assert!(ours(&[("sec-fetch-site", "same-origin")]));
        assert!(!ours(&[("sec-fetch-site", "cross-site"), ("origin", "https://flows.example")]));
        assert!(!ours(&[("sec-fetch-site", "same-site")]));
        assert!(ours(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")]));
        assert!(ours(&[("host", "10.0.0.1"), ("origin", "https://flows.example")]));
        assert!(!ours(&[("host", "localhost:8080"), ("origin", "http://evil.example")]));
        assert!(!ours(&[("host", "localhost:8080"), ("origin", "null")]));
        assert!(!ours(&[("host", "localhost:8080")]), "no word on the origin");
    }

    #[test]
    fn on_loopback_the_host_must_be_known() {
        let base = Base { authority: Some("flows.example:8443".to_owned()), ..Base::default() };
        let guard = Guard::new("127.0.0.1", &["box.lan".to_owned()], &base);
        let ours = |host| guard.host_is_ours(&headers(&[("host", host)]));
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "box.lan", "flows.example"] {
            assert!(ours(host), "{host}");
        }
        assert!(!ours("evil.example:8080"));
        assert!(!guard.host_is_ours(&HeaderMap::new()));
        assert!(Guard::new("0.0.0.0", &[], &base).host_is_ours(&headers(&[("host", "any")])));
    }
}
