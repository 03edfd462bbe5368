//! The environment of a task's processes.

use std::ffi::OsString;

use tradewind_proto::Timestamp;
use tradewind_proto::names::{ENV_ATTEMPT_ID, ENV_WORKER_ID};

use super::AttemptJob;

/// Prefix of our own configuration in the environment: it may hold secrets and is not for tasks.
const OWN_CONFIGURATION: &str = "TRADEWIND__";

/// The same secrets under the names that Airflow, Celery and Flower have for them.
const FOREIGN_SECRETS: [&str; 7] = [
    "AIRFLOW__CELERY__BROKER_URL",
    "AIRFLOW__CELERY__RESULT_BACKEND",
    "AIRFLOW__CORE__SQL_ALCHEMY_CONN",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "CELERY_BROKER_URL",
    "CELERY_RESULT_BACKEND",
    "FLOWER_BASIC_AUTH",
];

/// The worker's environment as tasks may see it.
pub(crate) fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.as_encoded_bytes();
        let ours = [ENV_ATTEMPT_ID, ENV_WORKER_ID];
        !name.starts_with(OWN_CONFIGURATION.as_bytes())
            && !ours.iter().chain(&FOREIGN_SECRETS).any(|hidden| name == hidden.as_bytes())
    })
}

/// What every process of an attempt has on top: who it is, as Airflow and as we say it.
pub(super) fn identity(job: &AttemptJob) -> Vec<(&'static str, String)> {
    let context = &job.grant.context;
    let mut all = vec![
        (ENV_ATTEMPT_ID, job.attempt_id.to_string()),
        (ENV_WORKER_ID, job.instance.to_string()),
        ("AIRFLOW_CTX_DAG_ID", context.dag_id.clone()),
        ("AIRFLOW_CTX_TASK_ID", job.grant.task.task_id.clone()),
        ("AIRFLOW_CTX_DAG_RUN_ID", context.run_id.clone()),
        ("AIRFLOW_CTX_TRY_NUMBER", context.try_number.to_string()),
        ("AIRFLOW_CTX_DAG_OWNER", job.grant.task.owner.clone()),
    ];
    if let Some(date) = context.logical_date {
        all.push(("AIRFLOW_CTX_EXECUTION_DATE", iso(date)));
        all.push(("AIRFLOW_CTX_LOGICAL_DATE", iso(date)));
    }
    if !job.trace_parent.is_empty() {
        all.push(("TRACEPARENT", job.trace_parent.clone()));
    }
    all
}

/// Python's `isoformat()` of a UTC time.
fn iso(at: Timestamp) -> String {
    let micros = at.subsec_nanosecond() / 1000;
    let seconds = at.strftime("%Y-%m-%dT%H:%M:%S");
    if micros == 0 { format!("{seconds}+00:00") } else { format!("{seconds}.{micros:06}+00:00") }
}

#[cfg(test)]
mod tests {
    use super::iso;

    #[test]
    fn dates_are_pythons() {
        let at = |text: &str| iso(text.parse().expect("time"));
        assert_eq!(at("2026-11-21T01:02:03Z"), "2026-11-21T01:02:03+00:00");
        assert_eq!(at("2026-11-21T01:02:03.5Z"), "2026-11-21T01:02:03.500000+00:00");
    }
}
