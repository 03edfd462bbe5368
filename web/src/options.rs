//! How the web role listens: section `[web]`.

use serde::{Deserialize, Serialize};

use crate::Error;

/// How the pages and APIs are served.
///
/// There is no login yet: whoever reaches the port can trigger and pause. Hence the loopback default;
/// listen on more only behind something that authenticates.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebOptions {
    /// Address to listen on; `127.0.0.1` unless set, so that only this machine reaches it.
    pub host: String,
    /// Port; 8080 unless set. 0 takes a free one.
    pub port: u16,
    /// Where people reach the pages, if not at `http://host:port`: its path becomes the prefix of
    /// every page and link, its host is allowed in requests.
    pub base_url: Option<String>,
    /// Host names, besides loopback ones and `base_url`'s, that requests for pages may name. Only
    /// looked at while listening on loopback, against web sites that point their name at this port.
    pub allowed_hosts: Vec<String>,
    /// Seconds without a scheduler's heartbeat until pages and health call it unhealthy.
    pub scheduler_health_seconds: u32,
    /// Milliseconds between two looks of an open page for something new. At least 250.
    pub refresh_ms: u32,
}

impl Default for WebOptions {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            base_url: None,
            allowed_hosts: Vec::new(),
            scheduler_health_seconds: 30,
            refresh_ms: 2_000,
        }
    }
}

/// `base_url`, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Base {
    /// Path prefix without a slash at its end; empty at the root.
    pub(crate) prefix: String,
    /// `scheme://host[:port]`, if known.
    pub(crate) origin: Option<String>,
    /// `host[:port]`, if known.
    pub(crate) authority: Option<String>,
}

impl WebOptions {
    pub(crate) fn base(&self) -> Result<Base, Error> {
        let Some(text) = self.base_url.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(Base::default());
        };
        let invalid = || Error::BaseUrl { url: text.to_owned() };
        let uri: axum::http::Uri = text.parse().map_err(|_| invalid())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(invalid());
        };
        if !matches!(scheme, "http" | "https") || uri.query().is_some() {
            return Err(invalid());
        }
        let prefix = uri.path().trim_end_matches('/');
        if prefix.contains(['{', '}', '*']) || prefix.contains("//") {
            return Err(invalid());
        }
        Ok(Base {
            prefix: prefix.to_owned(),
            origin: Some(format!("{scheme}://{authority}")),
            authority: Some(authority.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Base, WebOptions};

    fn base(url: &str) -> Option<Base> {
        WebOptions { base_url: Some(url.to_owned()), ..WebOptions::default() }.base().ok()
    }

    #[test]
    fn base_url_gives_prefix_and_origin() {
        let base = base("https://flows.example:8443/team/a/").expect("valid");
        assert_eq!(base.prefix, "/team/a");
        assert_eq!(base.origin.as_deref(), Some("https://flows.example:8443"));
        assert_eq!(base.authority.as_deref(), Some("flows.example:8443"));
    }

    #[test]
    fn the_root_has_no_prefix() {
        assert_eq!(base("http://localhost:8080").expect("valid").prefix, "");
        assert_eq!(base("").expect("unset"), Base::default());
    }

    #[test]
    fn refuses_what_is_no_base() {
        for url in ["flows.example", "/team", "ftp://x/", "http://x/?a=b", "http://x/{a}"] {
            assert!(base(url).is_none(), "{url}");
        }
    }
}
