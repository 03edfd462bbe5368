//! Limits that a task passes before it may start: rates, places at once, uniqueness. What does not pass
//! goes back to its queue for a while and holds no slot.

use std::time::Duration;

use tradewind_broker::Error;
use tradewind_proto::celery::Request;

use super::core::Fleet;
use super::options::{Conflict, TaskOptions};
use super::retry::share;

/// How long a place stays taken after its worker has died; renewed while the task runs.
pub(crate) const PLACE_LEASE: Duration = Duration::from_secs(30);
/// Waits of what finds no place: between this and twice this.
const NO_PLACE_DELAY: Duration = Duration::from_millis(250);
/// A fleet that cannot be asked now is asked again after this.
const AWAY_DELAY: Duration = Duration::from_secs(2);
/// Longest wait for a token that is believed; then it is asked for again.
const TOKEN_WAIT_MAX: Duration = Duration::from_secs(60);

/// What a running task holds.
#[derive(Debug, Default)]
pub(crate) struct Places {
    entered: Vec<(String, u32)>,
    unique: Option<String>,
}

/// Whether a task may start.
#[derive(Debug)]
pub(crate) enum Admission {
    Entered(Places),
    Later(Duration),
    /// The same call is there already, under this id.
    Duplicate(String),
}

/// Tries to enter everything that the options ask for; gives all back if one thing is not to be had.
pub(crate) async fn enter(fleet: &Fleet, request: &Request, options: &TaskOptions) -> Admission {
    let mut places = Places::default();
    let admitted = match try_enter(fleet, request, options, &mut places).await {
        Ok(None) => return Admission::Entered(places),
        Ok(Some(refused)) => refused,
        Err(error) => {
            tracing::warn!(%error, id = %request.id, "limits cannot be checked; the task waits");
            Admission::Later(AWAY_DELAY)
        }
    };
    leave(fleet, request, places).await;
    admitted
}

async fn try_enter(
    fleet: &Fleet,
    request: &Request,
    options: &TaskOptions,
    places: &mut Places,
) -> Result<Option<Admission>, Error> {
    let busy = || NO_PLACE_DELAY + share(NO_PLACE_DELAY, (&request.id, fleet.clock.now()));
    if let Some(unique) = &options.unique {
        let key = unique.key.of(request);
        let ttl = unique.window.unwrap_or(PLACE_LEASE);
        if let Some(holder) = claim(fleet, &key, &request.id, ttl).await? {
            return Ok(Some(match unique.conflict {
                Conflict::Drop => Admission::Duplicate(holder),
                Conflict::Defer => Admission::Later(busy()),
            }));
        }
        places.unique = Some(key);
    }
    for (number, limit) in options.concurrency.iter().enumerate() {
        let of = limit.per.as_ref().map_or_else(|| request.task.clone(), |per| per.of(request));
        let key = format!("{number}:{of}");
        if !enter_one(fleet, &key, limit.most, &request.id).await? {
            return Ok(Some(Admission::Later(busy())));
        }
        places.entered.push((key, limit.most));
    }
    let mut wait = fleet.state.take_token(&request.task, options.rate_limit);
    if let (None, Some(rate), Some(shared)) = (wait, options.fleet_rate_limit, &fleet.coordinator) {
        wait = shared.take_token(&request.task, rate.per_second, rate.burst).await?;
    } else if let (None, Some(rate)) = (wait, options.fleet_rate_limit) {
        wait = fleet.state.take_token(&format!("fleet:{}", request.task), Some(rate));
    }
    Ok(wait.map(|wait| Admission::Later(wait.min(TOKEN_WAIT_MAX))))
}

async fn claim(fleet: &Fleet, key: &str, id: &str, ttl: Duration) -> Result<Option<String>, Error> {
    match &fleet.coordinator {
        Some(shared) => shared.claim_unique(key, id, ttl).await,
        None => Ok(fleet.state.claim(key, id, ttl)),
    }
}

async fn enter_one(fleet: &Fleet, key: &str, most: u32, id: &str) -> Result<bool, Error> {
    match &fleet.coordinator {
        Some(shared) => shared.enter(key, most, id, PLACE_LEASE).await,
        None => Ok(fleet.state.enter(key, most, id)),
    }
}

/// Keeps what is held from running out.
pub(crate) async fn renew(
    fleet: &Fleet,
    request: &Request,
    options: &TaskOptions,
    places: &Places,
) {
    let Some(shared) = &fleet.coordinator else { return };
    for (key, most) in &places.entered {
        if let Err(error) = shared.enter(key, *most, &request.id, PLACE_LEASE).await {
            tracing::debug!(%error, key, "renewing a place failed");
        }
    }
    let window = options.unique.as_ref().and_then(|unique| unique.window);
    if let (Some(key), None) = (&places.unique, window)
        && let Err(error) = shared.claim_unique(key, &request.id, PLACE_LEASE).await
    {
        tracing::debug!(%error, key, "renewing a unique key failed");
    }
}

/// Gives places back. A window of uniqueness stays until it ends by itself, unless the task never ran.
pub(crate) async fn leave(fleet: &Fleet, request: &Request, places: Places) {
    for (key, _) in &places.entered {
        match &fleet.coordinator {
            Some(shared) => {
                if let Err(error) = shared.leave(key, &request.id).await {
                    tracing::debug!(%error, key, "a place frees itself after its lease");
                }
            }
            None => fleet.state.leave_place(key, &request.id),
        }
    }
    let Some(key) = &places.unique else { return };
    match &fleet.coordinator {
        Some(shared) => {
            if let Err(error) = shared.release_unique(key, &request.id).await {
                tracing::debug!(%error, key, "a unique key frees itself after its lease");
            }
        }
        None => fleet.state.unclaim(key, &request.id),
    }
}

impl Places {
    /// Keeps a window of uniqueness when the rest is given back.
    pub(crate) fn keep_window(&mut self, options: &TaskOptions) {
        if options.unique.as_ref().is_some_and(|unique| unique.window.is_some()) {
            self.unique = None;
        }
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.entered.is_empty() && self.unique.is_none()
    }
}
