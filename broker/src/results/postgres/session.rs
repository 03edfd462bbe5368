//! A reader's own connection: its identity on the server is a session advisory lock and a row.
//!
//! When the connection ends, the lock goes with it, and the other readers see at their next look
//! that the row stands for nobody.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_postgres::Client;
use tradewind_postgres::Target;
use uuid::Uuid;

use super::super::InboxItem;
use super::super::reader::LEASE;
use super::config::sort_error;
use crate::Error;

/// First half of the advisory lock keys of inbox readers.
const LOCK_CLASS: i32 = 0x7477_6962;
/// Random identities tried until a free one is found.
const IDENTITY_TRIES: usize = 8;

const LOCK: &str = "SELECT pg_try_advisory_lock($1, $2)";
const REGISTER: &str = "
WITH former AS (DELETE FROM tradewind_inbox_reader WHERE reader = $4)
INSERT INTO tradewind_inbox_reader (reader, inbox, lease_until)
VALUES ($1, $2, now() + $3::bigint * interval '1 millisecond')
ON CONFLICT (reader) DO UPDATE SET inbox = excluded.inbox, lease_until = excluded.lease_until";
const RENEW: &str = "UPDATE tradewind_inbox_reader \
    SET lease_until = now() + $2::bigint * interval '1 millisecond' WHERE reader = $1";
/// A row stands for nobody when its lease is over or no session of this database holds its lock.
const REAP: &str = "
DELETE FROM tradewind_inbox_reader r WHERE r.inbox = $1 AND r.reader <> $2 AND (
    r.lease_until < now() OR NOT EXISTS (
        SELECT 1 FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
          AND l.classid = $3::integer::oid AND l.objid = r.reader::oid
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())))";
const TAKE: &str = "
WITH picked AS (
    SELECT i.id FROM tradewind_inbox i
    WHERE i.inbox = $1
      AND EXISTS (SELECT 1 FROM tradewind_inbox_reader me WHERE me.reader = $2)
      AND (i.reader IS NULL
        OR NOT EXISTS (SELECT 1 FROM tradewind_inbox_reader r WHERE r.reader = i.reader))
    ORDER BY i.id LIMIT $3 FOR UPDATE OF i SKIP LOCKED)
UPDATE tradewind_inbox i SET reader = $2 FROM picked p WHERE i.id = p.id
RETURNING i.id, i.body";
const ACK: &str = "DELETE FROM tradewind_inbox WHERE id = ANY($1)";
const RELEASE: &str = "
WITH gone AS (DELETE FROM tradewind_inbox_reader WHERE reader = $1)
SELECT pg_notify('tradewind_inbox', $2)";

#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    reader: i32,
    inbox: String,
    /// The server no longer knows this reader: it must register again.
    lost: AtomicBool,
}

fn lease_ms() -> i64 {
    LEASE.as_millis() as i64
}

impl Session {
    /// Connects and registers; `former` is the identity of the session that this one replaces.
    pub(super) async fn open(
        target: &Target,
        inbox: &str,
        former: Option<i32>,
    ) -> Result<Self, Error> {
        let (client, connection) = target
            .config
            .connect(target.tls.clone())
            .await
            .map_err(|e| sort_error("a connection", &e))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "inbox connection ended");
            }
        });
        let reader = identity(&client).await?;
        client
            .execute(REGISTER, &[&reader, &inbox, &lease_ms(), &former])
            .await
            .map_err(|e| sort_error("an inbox reader", &e))?;
        Ok(Self { client, reader, inbox: inbox.to_owned(), lost: AtomicBool::new(false) })
    }

    pub(super) fn reader(&self) -> i32 {
        self.reader
    }

    /// Whether it can still be used.
    pub(super) fn is_usable(&self) -> bool {
        !self.client.is_closed() && !self.lost.load(Ordering::Relaxed)
    }

    /// Marks it for replacement: its last answer is in doubt.
    pub(super) fn abandon(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    pub(super) async fn reap(&self) -> Result<(), Error> {
        self.client
            .execute(REAP, &[&self.inbox, &self.reader, &LOCK_CLASS])
            .await
            .map_err(|e| sort_error("an inbox take-over", &e))?;
        Ok(())
    }

    pub(super) async fn take(&self, max: usize) -> Result<Vec<InboxItem>, Error> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let mut rows = self
            .client
            .query(TAKE, &[&self.inbox, &self.reader, &max])
            .await
            .map_err(|e| sort_error("inbox items", &e))?;
        rows.sort_by_key(|row| row.get::<_, i64>(0));
        Ok(rows
            .into_iter()
            .map(|row| InboxItem { tag: row.get::<_, i64>(0).to_string(), body: row.get(1) })
            .collect())
    }

    pub(super) async fn ack(&self, ids: &[i64]) -> Result<(), Error> {
        self.client.execute(ACK, &[&ids]).await.map_err(|e| sort_error("an inbox ack", &e))?;
        Ok(())
    }

    pub(super) async fn renew(&self) -> Result<(), Error> {
        let renewed = self
            .client
            .execute(RENEW, &[&self.reader, &lease_ms()])
            .await
            .map_err(|e| sort_error("an inbox lease", &e))?;
        if renewed == 0 {
            self.lost.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) async fn release(&self) -> Result<(), Error> {
        self.client
            .execute(RELEASE, &[&self.reader, &self.inbox])
            .await
            .map_err(|e| sort_error("an inbox release", &e))?;
        Ok(())
    }
}

async fn identity(client: &Client) -> Result<i32, Error> {
    for _ in 0..IDENTITY_TRIES {
        // Positive, because the lock table shows keys as unsigned numbers.
        let reader = (Uuid::new_v4().as_u128() & 0x7fff_ffff) as i32;
        let locked = client
            .query_one(LOCK, &[&LOCK_CLASS, &reader])
            .await
            .map_err(|e| sort_error("an inbox reader's lock", &e))?;
        if locked.get(0) {
            return Ok(reader);
        }
    }
    Err(Error::Unavailable {
        service: super::SERVICE,
        reason: "no free identity for an inbox reader".to_owned(),
    })
}
