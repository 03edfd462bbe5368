//! Parameters, as Flower reads them: by name, from the query or a form body, the last one counts.

use std::collections::HashMap;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use url::form_urlencoded;

use super::Refusal;

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Params(HashMap<String, String>);

impl Params {
    fn read(query: &str, body: &[u8]) -> Self {
        let query = form_urlencoded::parse(query.as_bytes());
        let all = query.chain(form_urlencoded::parse(body));
        Self(all.map(|(name, value)| (name.into_owned(), value.trim().to_owned())).collect())
    }

    /// A text, if it is there and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name).ok_or_else(|| Refusal::bad(format!("Missing argument {name}")))
    }

    /// A number, if it is there; `kind` is Python's name of its type.
    pub(super) fn number<T: FromStr>(&self, name: &str, kind: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let wrong = || Refusal::bad(format!("Invalid argument '{text}' of type '{kind}'"));
        text.parse().map(Some).map_err(|_| wrong())
    }

    /// A switch; off when it is missing.
    pub(super) fn switch(&self, name: &str) -> Result<bool, Refusal> {
        let Some(text) = self.text(name) else {
            return Ok(false);
        };
        match text.to_ascii_lowercase().as_str() {
            "y" | "yes" | "t" | "true" | "on" | "1" => Ok(true),
            "n" | "no" | "f" | "false" | "off" | "0" => Ok(false),
            _ => Err(Refusal::bad(format!("Invalid argument '{text}' of type 'bool'"))),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let form = kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if !form {
            return Ok(Self::read(&query, &[]));
        }
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| Refusal::new(error.status(), error.body_text()))?;
        Ok(Self::read(&query, &body))
    }
}

#[cfg(test)]
mod tests {
    use super::Params;

    #[test]
    fn query_and_form_are_one() {
        let params = Params::read("n=3&worker=celery%40a&on=TRUE&empty=", b"n=4&bad=x");
        assert_eq!(params.number::<u32>("n", "int").expect("a number"), Some(4));
        assert_eq!(params.text("worker"), Some("celery@a"));
        assert!(params.switch("on").expect("a switch"));
        assert_eq!((params.text("empty"), params.text("missing")), (None, None));
        for message in [
            params.number::<u32>("bad", "int").expect_err("no number").message,
            params.switch("bad").expect_err("no switch").message,
            params.required("missing").expect_err("missing").message,
        ] {
            assert!(message.starts_with("Invalid argument 'x'") || message.starts_with("Missing"));
        }
    }
}
