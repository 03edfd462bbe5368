//! Rows as both drivers read them: column lists, and how they become the model's structs.
//!
//! Columns are read by position, so a list and its mapper stand together. Table aliases: `r` dag_run,
//! `t` task_instance, `a` attempt, `d` dag.

use std::str::FromStr;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tradewind_engine::model::{RunInfo, TaskInstance};
use tradewind_proto::AttemptId;
use tradewind_proto::clock::from_micros;
use uuid::Uuid;

use crate::model::{
    AttemptRow, Dispatch, ExpiredLease, ImportErrorRow, JobRow, NextRun, RunRow, TaskInstanceRow,
    WorkerRow,
};

/// A column that does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadRow(pub(crate) String);

/// One row of either driver.
pub(crate) trait Cells {
    fn int_opt(&self, at: usize) -> Result<Option<i64>, BadRow>;
    fn text_opt(&self, at: usize) -> Result<Option<String>, BadRow>;
    fn id_opt(&self, at: usize) -> Result<Option<Uuid>, BadRow>;
    fn flag(&self, at: usize) -> Result<bool, BadRow>;

    fn int(&self, at: usize) -> Result<i64, BadRow> {
        self.int_opt(at)?.ok_or_else(|| null(at))
    }
    fn text(&self, at: usize) -> Result<String, BadRow> {
        self.text_opt(at)?.ok_or_else(|| null(at))
    }
    fn id(&self, at: usize) -> Result<Uuid, BadRow> {
        self.id_opt(at)?.ok_or_else(|| null(at))
    }
    fn u32(&self, at: usize) -> Result<u32, BadRow> {
        Ok(u32::try_from(self.int(at)?.max(0)).unwrap_or(u32::MAX))
    }
    fn i32(&self, at: usize) -> Result<i32, BadRow> {
        let wide = self.int(at)?;
        i32::try_from(wide).map_err(|_| BadRow(format!("column {at}: {wide} is out of range")))
    }
    fn time(&self, at: usize) -> Result<Timestamp, BadRow> {
        Ok(from_micros(self.int(at)?))
    }
    fn time_opt(&self, at: usize) -> Result<Option<Timestamp>, BadRow> {
        Ok(self.int_opt(at)?.map(from_micros))
    }
    /// Two columns that are both set or both null.
    fn span_opt(&self, at: usize) -> Result<Option<(Timestamp, Timestamp)>, BadRow> {
        Ok(self.time_opt(at)?.zip(self.time_opt(at + 1)?))
    }
    fn name<T: FromStr<Err: ToString>>(&self, at: usize) -> Result<T, BadRow> {
        self.text(at)?
            .parse()
            .map_err(|e: T::Err| BadRow(format!("column {at}: {}", e.to_string())))
    }
    fn attempt_opt(&self, at: usize) -> Result<Option<AttemptId>, BadRow> {
        Ok(self.id_opt(at)?.map(AttemptId))
    }
}

fn null(at: usize) -> BadRow {
    BadRow(format!("column {at} is null"))
}

pub(crate) const RUN: &str = "r.id, r.dag_id, r.run_id, r.run_type, r.state, r.logical_date, \
    r.interval_start, r.interval_end, r.run_after, r.queued_at, r.start_date, r.end_date, r.conf, \
    r.version_hash, r.trace_parent";
/// How many columns [`RUN`] has: more may follow.
pub(crate) const RUN_LEN: usize = 15;

pub(crate) fn run(row: &impl Cells) -> Result<RunRow, BadRow> {
    let conf: Map<String, Value> = serde_json::from_str(&row.text(12)?)
        .map_err(|e| BadRow(format!("the run's conf is not a JSON object: {e}")))?;
    Ok(RunRow {
        id: row.id(0)?,
        dag_id: row.text(1)?,
        run_id: row.text(2)?,
        run_type: row.name(3)?,
        state: row.name(4)?,
        logical_date: row.time_opt(5)?,
        interval: row.span_opt(6)?,
        run_after: row.time(8)?,
        queued_at: row.time(9)?,
        start_date: row.time_opt(10)?,
        end_date: row.time_opt(11)?,
        conf,
        version_hash: row.text(13)?,
        trace_parent: row.text(14)?,
    })
}

pub(crate) const RUN_INFO: &str = "r.id, r.dag_id, r.run_id, r.run_type, r.state, r.logical_date, \
    r.run_after, r.start_date, r.version_hash, r.version, r.date_key";

pub(crate) fn run_info(row: &impl Cells) -> Result<RunInfo, BadRow> {
    Ok(RunInfo {
        id: row.id(0)?,
        dag_id: row.text(1)?,
        run_id: row.text(2)?,
        run_type: row.name(3)?,
        state: row.name(4)?,
        logical_date: row.time_opt(5)?,
        run_after: row.time(6)?,
        start_date: row.time_opt(7)?,
        version_hash: row.text(8)?,
        version: row.int(9)?,
    })
}

pub(crate) const TASK: &str = "t.task_id, t.map_index, t.state, t.try_number, t.max_tries, \
    t.token, t.attempt_id, t.start_date, t.end_date, t.not_before, t.lost_count, t.skip_requested";

pub(crate) fn task(row: &impl Cells) -> Result<TaskInstance, BadRow> {
    Ok(TaskInstance {
        task_id: row.text(0)?,
        map_index: row.i32(1)?,
        state: row.name(2)?,
        try_number: row.u32(3)?,
        max_tries: row.u32(4)?,
        token: row.int(5)?,
        attempt_id: row.attempt_opt(6)?,
        start_date: row.time_opt(7)?,
        end_date: row.time_opt(8)?,
        not_before: row.time_opt(9)?,
        lost_count: row.u32(10)?,
        skip_requested: row.flag(11)?,
    })
}

pub(crate) const LISTED: &str = "r.dag_id, r.run_id, t.task_id, t.map_index, t.state, \
    t.try_number, t.max_tries, t.operator, t.queue, t.pool, t.priority, t.attempt_id, t.token, \
    t.queued_at, t.start_date, t.end_date, t.worker, t.hostname, t.pid, t.message";

pub(crate) fn listed(row: &impl Cells) -> Result<TaskInstanceRow, BadRow> {
    Ok(TaskInstanceRow {
        dag_id: row.text(0)?,
        run_id: row.text(1)?,
        task_id: row.text(2)?,
        map_index: row.i32(3)?,
        state: row.name(4)?,
        try_number: row.u32(5)?,
        max_tries: row.u32(6)?,
        operator: row.text(7)?,
        queue: row.text(8)?,
        pool: row.text(9)?,
        priority: row.i32(10)?,
        attempt_id: row.attempt_opt(11)?,
        token: row.int(12)?,
        queued_at: row.time_opt(13)?,
        start_date: row.time_opt(14)?,
        end_date: row.time_opt(15)?,
        worker: row.text(16)?,
        hostname: row.text(17)?,
        pid: row.u32(18)?,
        message: row.text(19)?,
    })
}

pub(crate) const ATTEMPT: &str = "a.id, a.task_id, a.map_index, a.token, a.try_number, \
    a.queued_at, a.claimed_at, a.worker, a.lease_until, a.outcome, a.ended_at";

pub(crate) fn attempt(row: &impl Cells) -> Result<AttemptRow, BadRow> {
    let outcome = row.text_opt(9)?;
    let outcome = outcome.map(|o| o.parse()).transpose();
    Ok(AttemptRow {
        attempt_id: AttemptId(row.id(0)?),
        task_id: row.text(1)?,
        map_index: row.i32(2)?,
        token: row.int(3)?,
        try_number: row.u32(4)?,
        queued_at: row.time(5)?,
        claimed_at: row.time_opt(6)?,
        worker: row.text(7)?,
        lease_until: row.time_opt(8)?,
        outcome: outcome.map_err(|e: tradewind_proto::state::UnknownName| BadRow(e.to_string()))?,
        ended_at: row.time_opt(10)?,
    })
}

pub(crate) const DISPATCH: &str = "a.id, a.token, a.run, r.dag_id, r.run_id, a.task_id, \
    a.map_index, t.operator, a.try_number, t.queue, t.priority, a.queued_at, r.trace_parent";
/// What [`DISPATCH`] reads from, `o` being the outbox.
pub(crate) const DISPATCH_FROM: &str = "outbox o JOIN attempt a ON a.id = o.attempt \
    JOIN dag_run r ON r.id = a.run JOIN task_instance t ON t.run = a.run \
    AND t.task_id = a.task_id AND t.map_index = a.map_index";

pub(crate) fn dispatch(row: &impl Cells) -> Result<Dispatch, BadRow> {
    Ok(Dispatch {
        attempt_id: AttemptId(row.id(0)?),
        token: row.int(1)?,
        run: row.id(2)?,
        dag_id: row.text(3)?,
        run_id: row.text(4)?,
        task_id: row.text(5)?,
        map_index: row.i32(6)?,
        operator: row.text(7)?,
        try_number: row.u32(8)?,
        queue: row.text(9)?,
        priority: row.i32(10)?,
        queued_at: row.time(11)?,
        trace_parent: row.text(12)?,
    })
}

pub(crate) const EXPIRED: &str =
    "a.id, a.token, a.run, a.task_id, a.map_index, a.worker, a.claimed_at";

pub(crate) fn expired(row: &impl Cells) -> Result<ExpiredLease, BadRow> {
    Ok(ExpiredLease {
        attempt_id: AttemptId(row.id(0)?),
        token: row.int(1)?,
        run: row.id(2)?,
        task_id: row.text(3)?,
        map_index: row.i32(4)?,
        worker: row.text(5)?,
        claimed_at: row.time(6)?,
    })
}

/// A DAG's row without its spec.
#[derive(Debug)]
pub(crate) struct DagHead {
    pub(crate) dag_id: String,
    pub(crate) version_hash: String,
    pub(crate) version_number: u32,
    pub(crate) is_paused: bool,
    pub(crate) is_active: bool,
    pub(crate) next: Option<NextRun>,
    pub(crate) last: Option<(Timestamp, Timestamp)>,
    pub(crate) schedule_epoch: i64,
    pub(crate) parsed_at: Timestamp,
}

/// `dag.due_at` of a DAG whose next run has to be computed.
pub(crate) const NOT_COMPUTED: i64 = i64::MIN;

pub(crate) const DAG: &str = "d.dag_id, d.version_hash, d.version_number, d.is_paused, \
    d.is_active, d.due_at, d.next_logical, d.next_start, d.next_end, d.last_logical, d.last_end, \
    d.schedule_epoch, d.parsed_at";
/// How many columns [`DAG`] has: more may follow.
pub(crate) const DAG_LEN: usize = 13;

pub(crate) fn dag(row: &impl Cells) -> Result<DagHead, BadRow> {
    let next = match (row.int_opt(5)?, row.time_opt(6)?, row.span_opt(7)?) {
        (Some(due), Some(logical_date), Some((interval_start, interval_end)))
            if due != NOT_COMPUTED =>
        {
            Some(NextRun {
                logical_date,
                interval_start,
                interval_end,
                run_after: from_micros(due),
            })
        }
        _ => None,
    };
    Ok(DagHead {
        dag_id: row.text(0)?,
        version_hash: row.text(1)?,
        version_number: row.u32(2)?,
        is_paused: row.flag(3)?,
        is_active: row.flag(4)?,
        next,
        last: row.span_opt(9)?,
        schedule_epoch: row.int(11)?,
        parsed_at: row.time(12)?,
    })
}

pub(crate) const IMPORT_ERROR: &str = "fileloc, message, line, detail, at";

pub(crate) fn import_error(row: &impl Cells) -> Result<ImportErrorRow, BadRow> {
    let line = row.int_opt(2)?.and_then(|l| u32::try_from(l).ok());
    Ok(ImportErrorRow {
        fileloc: row.text(0)?,
        error: tradewind_proto::dag::ImportError {
            message: row.text(1)?,
            line,
            detail: row.text(3)?,
        },
        at: row.time(4)?,
    })
}

pub(crate) const JOB: &str = "id, job_type, hostname, ended, started_at, heartbeat_at";

pub(crate) fn job(row: &impl Cells) -> Result<JobRow, BadRow> {
    Ok(JobRow {
        id: row.id(0)?,
        job_type: row.text(1)?,
        hostname: row.text(2)?,
        ended: row.flag(3)?,
        started_at: row.time(4)?,
        heartbeat_at: row.time(5)?,
    })
}

pub(crate) const WORKER: &str = "worker, instance, hostname, queues, slots, running, heartbeat_at";

pub(crate) fn worker(row: &impl Cells) -> Result<WorkerRow, BadRow> {
    let queues = serde_json::from_str(&row.text(3)?)
        .map_err(|e| BadRow(format!("the worker's queues are not a JSON list: {e}")))?;
    Ok(WorkerRow {
        worker: row.text(0)?,
        instance: row.id(1)?,
        hostname: row.text(2)?,
        queues,
        slots: row.u32(4)?,
        running: row.u32(5)?,
        heartbeat_at: row.time(6)?,
    })
}
