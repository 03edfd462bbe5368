//! Which tasks a list shows, and in which order: Flower's filters.

use super::{Monitor, Search, Task};

/// A member that a list can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    /// Task name.
    Name,
    /// State name.
    State,
    /// When it was received.
    Received,
    /// When it was started.
    Started,
}

impl SortBy {
    /// The names, as an error lists them.
    pub const NAMES: &str = "name, received, started, state";

    /// The member of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "name" => Self::Name,
            "state" => Self::State,
            "received" => Self::Received,
            "started" => Self::Started,
            _ => return None,
        })
    }
}

/// A list of tasks.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only of this worker.
    pub worker: Option<String>,
    /// Only with this name.
    pub name: Option<String>,
    /// Only in this state.
    pub state: Option<String>,
    /// Only received at or after, seconds since 1970.
    pub received_start: Option<f64>,
    /// Only received at or before.
    pub received_end: Option<f64>,
    /// Only those that match.
    pub search: Option<Search>,
    /// Order; none: newest news first.
    pub sort: Option<SortBy>,
    /// Reversed order; only with `sort`.
    pub descending: bool,
    /// Skipped.
    pub offset: usize,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Query {
    fn admits(&self, task: &Task) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| {
                found.is_some_and(|found| found.to_lowercase() == wanted.to_lowercase())
            })
        };
        // A task that was never received is in every period, as in Flower.
        let in_time = task.received.is_none_or(|at| {
            self.received_start.is_none_or(|start| at >= start)
                && self.received_end.is_none_or(|end| at <= end)
        });
        in_time
            && is(&self.worker, task.worker.as_deref())
            && is(&self.name, task.name.as_deref())
            && is(&self.state, Some(&task.state))
            && self.search.as_ref().is_none_or(|search| search.matches(task))
    }
}

impl Monitor {
    /// The tasks of a query.
    pub fn list(&self, query: &Query) -> Vec<&Task> {
        let mut found: Vec<&Task> = self.tasks().filter(|task| query.admits(task)).collect();
        match query.sort {
            None => found.sort_by(|a, b| {
                let at = |task: &Task| task.timestamp.unwrap_or(0.0);
                at(b).total_cmp(&at(a)).then_with(|| b.uuid.cmp(&a.uuid))
            }),
            Some(sort) => {
                found.sort_by(|a, b| key_order(sort, a, b).then_with(|| a.uuid.cmp(&b.uuid)));
                if query.descending {
                    found.reverse();
                }
            }
        }
        found.into_iter().skip(query.offset).take(query.limit.unwrap_or(usize::MAX)).collect()
    }
}

/// Tasks without the member come first.
fn key_order(sort: SortBy, a: &Task, b: &Task) -> std::cmp::Ordering {
    let text = |task: &Task| match sort {
        SortBy::Name => task.name.as_ref().map(|name| name.to_lowercase()),
        _ => Some(task.state.to_lowercase()),
    };
    let time = |task: &Task| match sort {
        SortBy::Received => task.received,
        _ => task.started,
    };
    match sort {
        SortBy::Name | SortBy::State => text(a).cmp(&text(b)),
        SortBy::Received | SortBy::Started => match (time(a), time(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        },
    }
}
