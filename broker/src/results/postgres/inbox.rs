//! One leased reader of a PostgreSQL inbox.

use std::future::Future;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tradewind_postgres::Target;

use super::super::InboxItem;
use super::super::reader::Source;
use super::session::Session;
use super::{STATEMENT_LIMIT, slow};
use crate::Error;

/// How often a reader looks for dead ones while it takes.
const REAP_EVERY: Duration = Duration::from_millis(900);

#[derive(Debug)]
pub(super) struct PostgresSource {
    target: Arc<Target>,
    inbox: String,
    gate: Mutex<Gate>,
    /// The open session, for acks and renewals while a take is under way.
    session: StdMutex<Option<Arc<Session>>>,
}

#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    reaped_at: Option<Instant>,
}

async fn limited<T>(what: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(STATEMENT_LIMIT, work).await.unwrap_or_else(|_| Err(slow(what)))
}

impl PostgresSource {
    pub(super) fn new(target: Arc<Target>, inbox: String) -> Self {
        Self { target, inbox, gate: Mutex::default(), session: StdMutex::default() }
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace_session(&self, session: Option<Arc<Session>>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// The session, opened again when it broke: under a new identity, so that what a lost reply
    /// carried is free again.
    async fn usable_session(&self) -> Result<Arc<Session>, Error> {
        let former = self.session();
        if let Some(session) = former.as_ref().filter(|session| session.is_usable()) {
            return Ok(Arc::clone(session));
        }
        let former = former.map(|session| session.reader());
        let opened = Session::open(&self.target, &self.inbox, former);
        let session = Arc::new(limited("a connection", opened).await?);
        self.replace_session(Some(Arc::clone(&session)));
        Ok(session)
    }
}

#[async_trait]
impl Source for PostgresSource {
    async fn take(&self, max: usize) -> Result<Vec<InboxItem>, Error> {
        let mut gate = self.gate.lock().await;
        if gate.closed {
            return Err(Error::Closed);
        }
        let session = self.usable_session().await?;
        if gate.reaped_at.is_none_or(|at| at.elapsed() >= REAP_EVERY) {
            limited("an inbox take-over", session.reap()).await?;
            gate.reaped_at = Some(Instant::now());
        }
        let taken = limited("inbox items", session.take(max)).await;
        if taken.is_err() {
            session.abandon();
        }
        taken
    }

    async fn ack(&self, tags: &[String]) -> Result<(), Error> {
        let ids: Vec<i64> = tags.iter().filter_map(|tag| tag.parse().ok()).collect();
        let session = {
            // An ack does not wait for a take unless the session has to be opened again.
            match self.session().filter(|session| session.is_usable()) {
                Some(session) => session,
                None => {
                    let _gate = self.gate.lock().await;
                    self.usable_session().await?
                }
            }
        };
        limited("an inbox ack", session.ack(&ids)).await
    }

    async fn renew(&self) -> Result<(), Error> {
        match self.session().filter(|session| session.is_usable()) {
            Some(session) => limited("an inbox lease", session.renew()).await,
            None => Ok(()),
        }
    }

    async fn release(&self) -> Result<(), Error> {
        self.gate.lock().await.closed = true;
        // A broken session has released its items by itself.
        if let Some(session) = self.session().filter(|session| session.is_usable()) {
            session.release().await?;
        }
        self.replace_session(None);
        Ok(())
    }
}
