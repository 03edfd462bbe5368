//! Joins of chords in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{JOIN_CLAIM, JOIN_DONE, Join, JoinPart};

/// Groups that wait or were finished a moment ago.
#[derive(Debug, Default)]
pub(super) struct Joins {
    groups: BTreeMap<String, Group>,
    last_claim: u64,
}

#[derive(Debug)]
struct Group {
    size: Option<u64>,
    /// Tasks that were added to those of the size.
    added: BTreeSet<String>,
    /// By position and task.
    parts: BTreeMap<(i64, String), JoinPart>,
    claim: Option<(String, Instant)>,
    done: bool,
    expires_at: Instant,
}

impl Joins {
    fn group(&mut self, id: &str, now: Instant, ttl: Duration) -> &mut Group {
        self.groups.retain(|_, group| group.expires_at > now);
        let group = self.groups.entry(id.to_owned()).or_insert_with(|| Group {
            size: None,
            added: BTreeSet::new(),
            parts: BTreeMap::new(),
            claim: None,
            done: false,
            expires_at: now + ttl,
        });
        if !group.done {
            group.expires_at = now + ttl;
        }
        group
    }

    pub(super) fn begin(&mut self, id: &str, size: u64, ttl: Duration) {
        let group = self.group(id, Instant::now(), ttl);
        (group.size, group.claim, group.done) = (Some(size), None, false);
    }

    pub(super) fn extend(&mut self, id: &str, task_id: &str, ttl: Duration) {
        self.group(id, Instant::now(), ttl).added.insert(task_id.to_owned());
    }

    pub(super) fn join(&mut self, part: JoinPart, ttl: Duration) -> Join {
        let now = Instant::now();
        self.last_claim += 1;
        let claim = self.last_claim.to_string();
        let group = self.group(&part.group.clone(), now, ttl);
        if group.done {
            return Join::Taken;
        }
        group.parts.entry((part.index, part.task_id.clone())).or_insert(part);
        let wanted = group.size.map(|size| size.saturating_add(group.added.len() as u64));
        if wanted != Some(group.parts.len() as u64) {
            return Join::Waiting;
        }
        if group.claim.as_ref().is_some_and(|(_, until)| *until > now) {
            return Join::Taken;
        }
        group.claim = Some((claim.clone(), now + JOIN_CLAIM));
        Join::Complete { claim, parts: group.parts.values().cloned().collect() }
    }

    pub(super) fn finish(&mut self, id: &str, claim: &str) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if group.claim.as_ref().is_some_and(|(held, _)| held == claim) {
            group.parts.clear();
            group.added.clear();
            group.done = true;
            group.expires_at = Instant::now() + JOIN_DONE;
        }
    }
}
