//! Judging claims and heartbeats by the attempt's row: pure, shared by the drivers, which hold the
//! row's lock meanwhile.

use tradewind_proto::execution::{ClaimItem, LeaseItem, LeaseVerdict};
use tradewind_proto::state::TaskState;
use uuid::Uuid;

use crate::model::{ClaimedAttempt, RunRow};
use crate::rows::{self, BadRow, Cells};

/// An attempt with its task instance and run.
#[derive(Debug)]
pub(crate) struct ClaimRow {
    pub(crate) id: Uuid,
    pub(crate) run: RunRow,
    pub(crate) date_key: i64,
    token: i64,
    cancel: bool,
    ended: bool,
    claimed: bool,
    lost: bool,
    instance: Option<Uuid>,
    nonce: Option<Uuid>,
    pub(crate) task_id: String,
    pub(crate) map_index: i32,
    try_number: u32,
    queued_at: jiff::Timestamp,
    state: TaskState,
    current: bool,
    max_tries: u32,
}

/// After [`rows::RUN`].
pub(crate) const CLAIM: &str = "a.id, a.token, a.cancel, a.ended_at, a.claimed_at, a.lost_at, \
    a.instance, a.claim_nonce, a.task_id, a.map_index, a.try_number, a.queued_at, t.state, \
    t.attempt_id, t.max_tries, r.date_key";
pub(crate) const CLAIM_FROM: &str = "attempt a JOIN dag_run r ON r.id = a.run \
    JOIN task_instance t ON t.run = a.run AND t.task_id = a.task_id AND t.map_index = a.map_index";

pub(crate) fn claim_row(row: &impl Cells) -> Result<ClaimRow, BadRow> {
    let at = rows::RUN_LEN;
    let id = row.id(at)?;
    Ok(ClaimRow {
        id,
        run: rows::run(row)?,
        token: row.int(at + 1)?,
        cancel: row.flag(at + 2)?,
        ended: row.int_opt(at + 3)?.is_some(),
        claimed: row.int_opt(at + 4)?.is_some(),
        lost: row.int_opt(at + 5)?.is_some(),
        instance: row.id_opt(at + 6)?,
        nonce: row.id_opt(at + 7)?,
        task_id: row.text(at + 8)?,
        map_index: row.i32(at + 9)?,
        try_number: row.u32(at + 10)?,
        queued_at: row.time(at + 11)?,
        state: row.name(at + 12)?,
        current: row.id_opt(at + 13)? == Some(id),
        max_tries: row.u32(at + 14)?,
        date_key: row.int(at + 15)?,
    })
}

/// What a claim gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// The first claim: queued → running.
    First,
    /// The same call again.
    Again,
    Duplicate,
    Stale,
}

pub(crate) fn judge(row: &ClaimRow, item: &ClaimItem, instance: Uuid) -> Judged {
    if row.token != item.token || row.cancel {
        return Judged::Stale;
    }
    if row.ended {
        return Judged::Duplicate;
    }
    if row.claimed {
        let same = row.nonce == Some(item.nonce) && row.instance == Some(instance);
        return match (same, row.lost) {
            (true, false) => Judged::Again,
            (true, true) => Judged::Stale,
            (false, _) => Judged::Duplicate,
        };
    }
    if row.current && row.state == TaskState::Queued { Judged::First } else { Judged::Stale }
}

impl ClaimRow {
    pub(crate) fn granted(self) -> ClaimedAttempt {
        ClaimedAttempt {
            run: self.run,
            task_id: self.task_id,
            map_index: self.map_index,
            try_number: self.try_number,
            max_tries: self.max_tries,
            queued_at: self.queued_at,
            upstream_ended_at: None,
            prev_success_interval: None,
        }
    }
}

/// An attempt as heartbeats see it.
#[derive(Debug)]
pub(crate) struct LeaseRow {
    pub(crate) id: Uuid,
    token: i64,
    held: bool,
    cancel: bool,
    instance: Option<Uuid>,
}

pub(crate) const LEASE: &str =
    "id, token, cancel, instance, claimed_at, ended_at, lost_at FROM attempt";

pub(crate) fn lease_row(row: &impl Cells) -> Result<LeaseRow, BadRow> {
    let held = row.int_opt(4)?.is_some() && row.int_opt(5)?.is_none() && row.int_opt(6)?.is_none();
    Ok(LeaseRow {
        id: row.id(0)?,
        token: row.int(1)?,
        cancel: row.flag(2)?,
        instance: row.id_opt(3)?,
        held,
    })
}

pub(crate) fn lease_verdict(
    row: Option<&LeaseRow>,
    item: &LeaseItem,
    instance: Uuid,
) -> LeaseVerdict {
    match row {
        Some(r) if r.held && r.token == item.token && r.instance == Some(instance) => {
            if r.cancel {
                LeaseVerdict::Cancel
            } else {
                LeaseVerdict::Continue
            }
        }
        _ => LeaseVerdict::Stale,
    }
}
