//! Health in Airflow's shape: always 200 while this process serves, the truth is in the body.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tradewind_proto::Timestamp;
use tradewind_proto::clock::SharedClock;
use tradewind_store::Store;
use tradewind_store::model::JobRow;

use super::Readiness;

/// A probe must be answered even while the database hangs.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// Looks at the store and at the heartbeats of the other roles. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    store: Arc<dyn Store>,
    clock: SharedClock,
    threshold: Duration,
}

/// What became of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vital {
    /// Its last heartbeat is recent.
    Alive(Timestamp),
    /// It has stopped, or its last heartbeat is old.
    Gone(Timestamp),
    /// It never ran, or nobody could look.
    Unknown,
}

impl Vital {
    fn of(job: Option<&JobRow>, now: Timestamp, threshold: Duration) -> Self {
        match job {
            None => Self::Unknown,
            Some(job) => {
                let age = now.duration_since(job.heartbeat_at).as_secs_f64();
                if !job.ended && age <= threshold.as_secs_f64() {
                    Self::Alive(job.heartbeat_at)
                } else {
                    Self::Gone(job.heartbeat_at)
                }
            }
        }
    }

    fn member(self, latest: &str, never: Option<&str>) -> Value {
        let (status, at) = match self {
            Self::Alive(at) => (Some("healthy"), Some(at)),
            Self::Gone(at) => (Some("unhealthy"), Some(at)),
            Self::Unknown => (never, None),
        };
        json!({ latest: at.map(iso), "status": status })
    }
}

impl Health {
    /// Roles count as alive for `threshold` after a heartbeat.
    pub fn new(store: Arc<dyn Store>, clock: SharedClock, threshold: Duration) -> Self {
        Self { store, clock, threshold }
    }

    /// Whether the store answers and has the right schema, as a readiness.
    pub fn readiness(&self) -> Readiness {
        let store = Arc::clone(&self.store);
        Arc::new(move || {
            let store = Arc::clone(&store);
            Box::pin(async move {
                in_time(async {
                    store.health().await?;
                    store.check_schema().await
                })
                .await
            })
        })
    }

    /// How the newest scheduler does.
    pub(crate) async fn scheduler(&self) -> Vital {
        self.vital("SchedulerJob").await
    }

    async fn vital(&self, job_type: &'static str) -> Vital {
        let jobs = in_time(self.store.jobs(Some(job_type), 1)).await.unwrap_or_default();
        Vital::of(jobs.first(), self.clock.now(), self.threshold)
    }

    /// The body of `/health`.
    pub async fn body(&self) -> Value {
        let database = match in_time(self.store.health()).await {
            Ok(()) => "healthy",
            Err(_) => "unhealthy",
        };
        let (scheduler, dag_processor) =
            tokio::join!(self.vital("SchedulerJob"), self.vital("DagProcessorJob"));
        json!({
            "metadatabase": {"status": database},
            "scheduler": scheduler.member("latest_scheduler_heartbeat", Some("unhealthy")),
            // Waiting needs no process of its own here: timers are rows that schedulers serve.
            "triggerer": Vital::Unknown.member("latest_triggerer_heartbeat", None),
            "dag_processor": dag_processor.member("latest_dag_processor_heartbeat", None),
        })
    }
}

async fn in_time<T>(
    call: impl Future<Output = Result<T, tradewind_store::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(STORE_TIMEOUT, call).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the database did not answer within {} s", STORE_TIMEOUT.as_secs())),
    }
}

/// `/health` (Airflow 2) and `/api/v2/monitor/health` (Airflow 3).
pub(crate) fn monitor(health: Health) -> Router {
    let answer = move || {
        let health = health.clone();
        async move { axum::Json(health.body().await).into_response() as Response }
    };
    Router::new().route("/health", get(answer.clone())).route("/api/v2/monitor/health", get(answer))
}

/// ISO 8601 with offset, as Airflow prints times.
pub(crate) fn iso(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tradewind_proto::Timestamp;
    use tradewind_store::model::JobRow;
    use uuid::Uuid;

    use super::Vital;

    fn job(heartbeat: &str, ended: bool) -> JobRow {
        let at: Timestamp = heartbeat.parse().expect("a time");
        JobRow {
            id: Uuid::nil(),
            job_type: "SchedulerJob".to_owned(),
            hostname: "h".to_owned(),
            ended,
            started_at: at,
            heartbeat_at: at,
        }
    }

    #[test]
    fn status_follows_the_heartbeat() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let vital = |job: Option<&JobRow>| {
            Vital::of(job, now, Duration::from_secs(30)).member("latest", Some("unhealthy"))
        };
        assert_eq!(
            vital(Some(&job("2026-01-01T00:00:30.5Z", false))),
            json!({"latest": "2026-01-01T00:00:30.500000+00:00", "status": "healthy"})
        );
        assert_eq!(vital(Some(&job("2026-01-01T00:00:29Z", false)))["status"], "unhealthy");
        assert_eq!(vital(Some(&job("2026-01-01T00:00:59Z", true)))["status"], "unhealthy");
        assert_eq!(vital(None), json!({"latest": null, "status": "unhealthy"}));
    }
}
