//! Who may use the API, and whether anybody may change something.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::SystemRandom;

use super::Refusal;
use crate::flower::{FlowerHandle, FlowerOptions};

/// Compares presented credentials with the configured ones. All go through a keyed hash first and all
/// are compared, so that the time taken tells nothing.
pub(in crate::flower) struct Gate {
    key: hmac::Key,
    expected: Vec<hmac::Tag>,
    open: bool,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gate({} users)", self.expected.len())
    }
}

/// What a request may do.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Admitted,
    /// Authentication is set up and the right credentials did not come.
    Denied,
    /// Nobody can authenticate.
    NotSetUp,
}

impl Gate {
    pub(in crate::flower) fn new(
        options: &FlowerOptions,
    ) -> Result<Self, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        let pairs = options.basic_auth.pairs();
        let expected = pairs.iter().map(|pair| hmac::sign(&key, pair.as_bytes())).collect();
        Ok(Self { key, expected, open: options.unauthenticated_api })
    }

    fn verdict(&self, authorization: Option<&str>) -> Verdict {
        if self.expected.is_empty() {
            return if self.open { Verdict::Admitted } else { Verdict::NotSetUp };
        }
        let presented = authorization.and_then(|value| {
            let (scheme, encoded) = value.trim().split_once(' ')?;
            let basic = scheme.eq_ignore_ascii_case("basic");
            basic.then(|| STANDARD.decode(encoded.trim()).ok()).flatten()
        });
        let presented = presented.unwrap_or_default();
        let same = |tag: &hmac::Tag| hmac::verify(&self.key, &presented, tag.as_ref()).is_ok();
        let matches = self.expected.iter().filter(|tag| same(tag)).count();
        if matches > 0 { Verdict::Admitted } else { Verdict::Denied }
    }
}

/// Lets requests through that may use the API.
pub(super) async fn admit(
    State(flower): State<FlowerHandle>,
    request: Request,
    next: Next,
) -> Response {
    let authorization = text(request.headers(), header::AUTHORIZATION);
    match flower.shared.gate.verdict(authorization) {
        Verdict::Admitted => {}
        Verdict::NotSetUp => {
            let message = "set [flower] basic_auth to use the API, or unauthenticated_api = true to \
                           open it to everybody (FLOWER_UNAUTHENTICATED_API)";
            return Refusal::new(StatusCode::UNAUTHORIZED, message).into_response();
        }
        Verdict::Denied => {
            let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"flower\"")];
            return (StatusCode::UNAUTHORIZED, ask, "Access denied").into_response();
        }
    }
    if request.method() != Method::GET && is_foreign(request.headers(), request.uri()) {
        return Refusal::forbidden("Cross-site request forbidden").into_response();
    }
    next.run(request).await
}

/// Lets requests through that change something, unless that is switched off.
pub(super) async fn may_change(
    State(flower): State<FlowerHandle>,
    request: Request,
    next: Next,
) -> Response {
    if flower.shared.options.read_only {
        return Refusal::forbidden("Read only mode is enabled").into_response();
    }
    next.run(request).await
}

/// Whether a browser sent this for a page of another site: it adds credentials by itself.
fn is_foreign(headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = text(headers, header::ORIGIN) else {
        return false;
    };
    let host = text(headers, header::HOST).or_else(|| uri.authority().map(|a| a.as_str()));
    origin.split_once("://").map(|(_, authority)| authority) != host
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{Gate, Verdict};
    use crate::flower::{Credentials, FlowerOptions};

    #[test]
    fn only_the_right_credentials_open_the_gate() {
        let options = FlowerOptions {
            basic_auth: Credentials::new(vec!["ann:one".to_owned(), "bob:two:three".to_owned()]),
            unauthenticated_api: true,
            ..FlowerOptions::default()
        };
        let gate = Gate::new(&options).expect("randomness");
        let header = |scheme: &str, pair: &str| format!("{scheme} {}", STANDARD.encode(pair));
        for right in [header("Basic", "ann:one"), header("basic", "bob:two:three")] {
            assert_eq!(gate.verdict(Some(&right)), Verdict::Admitted, "{right}");
        }
        let wrong = [header("Basic", "ann:two"), header("Bearer", "ann:one"), "Basic".to_owned()];
        for wrong in wrong.iter().map(|text| Some(text.as_str())).chain([None, Some("Basic ?")]) {
            assert_eq!(gate.verdict(wrong), Verdict::Denied, "{wrong:?}");
        }
    }

    #[test]
    fn without_users_it_is_shut_unless_it_was_opened() {
        let shut = Gate::new(&FlowerOptions::default()).expect("randomness");
        assert_eq!(shut.verdict(Some("Basic Og==")), Verdict::NotSetUp);
        let options = FlowerOptions { unauthenticated_api: true, ..FlowerOptions::default() };
        let open = Gate::new(&options).expect("randomness");
        assert_eq!(open.verdict(None), Verdict::Admitted);
    }
}
