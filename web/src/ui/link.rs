//! Addresses of pages. The one place that builds paths, so that prefix and escaping always hold.

use std::fmt::Write as _;

/// Builds links below a path prefix.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links {
    prefix: String,
}

impl Links {
    pub(crate) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    pub(crate) fn dags(&self) -> String {
        format!("{}/dags", self.prefix)
    }

    pub(crate) fn workers(&self) -> String {
        format!("{}/workers", self.prefix)
    }

    pub(crate) fn dag(&self, dag_id: &str) -> String {
        format!("{}/dags/{}", self.prefix, segment(dag_id))
    }

    /// A DAG's page with a run picked for the graph.
    pub(crate) fn dag_at(&self, dag_id: &str, run_id: &str) -> String {
        format!("{}?run={}", self.dag(dag_id), segment(run_id))
    }

    pub(crate) fn pause(&self, dag_id: &str) -> String {
        format!("{}/pause", self.dag(dag_id))
    }

    pub(crate) fn trigger(&self, dag_id: &str) -> String {
        format!("{}/trigger", self.dag(dag_id))
    }

    pub(crate) fn run(&self, dag_id: &str, run_id: &str) -> String {
        format!("{}/runs/{}", self.dag(dag_id), segment(run_id))
    }

    pub(crate) fn task(&self, dag_id: &str, run_id: &str, task_id: &str) -> String {
        format!("{}/tasks/{}", self.run(dag_id, run_id), segment(task_id))
    }

    pub(crate) fn asset(&self, name: &str, version: &str) -> String {
        format!("{}/static/{name}?v={version}", self.prefix)
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986), so that any name is one path
/// segment or one query value.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Links;

    #[test]
    fn names_stay_one_segment() {
        let links = Links::new("/flow".to_owned());
        assert_eq!(
            links.run("a/b", "manual__2024-01-01T00:00:00+00:00"),
            "/flow/dags/a%2Fb/runs/manual__2024-01-01T00%3A00%3A00%2B00%3A00"
        );
        assert_eq!(links.dag("<x>?&\"é"), "/flow/dags/%3Cx%3E%3F%26%22%C3%A9");
    }
}
