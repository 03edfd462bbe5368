//! Settling: single calls from many tasks, carried to the server in batches.
//!
//! One background task takes whatever waits and sends it as one script call; while that call is
//! under way the next batch gathers. Idle, a call goes out at once.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::keys::Keys;
use super::link::{Link, Scripts, unavailable};
use crate::Error;

/// Settling calls that may wait for the background task.
const QUEUE_MAX: usize = 8_192;
/// Calls in one batch; scripts pass them to one Redis command, which Lua limits to 8,000 arguments.
const BATCH_MAX: usize = 512;

/// How a message leaves its reservation.
#[derive(Debug)]
pub(super) enum Op {
    /// Removed.
    Ack,
    /// Put elsewhere.
    Move(Move),
}

#[derive(Debug)]
pub(super) struct Move {
    pub(super) how: How,
    /// Target key.
    pub(super) key: String,
    pub(super) text: Vec<u8>,
    /// Channel to wake.
    pub(super) wake: Option<String>,
}

#[derive(Debug)]
pub(super) enum How {
    /// The next one to be served.
    Next,
    /// Behind all others.
    Last,
    /// In a sorted set, with this score.
    At(f64),
}

#[derive(Debug)]
struct Call {
    member: String,
    op: Op,
    reply: Option<oneshot::Sender<Result<(), Error>>>,
}

/// Sends settling calls to the background task.
#[derive(Debug, Clone)]
pub(super) struct Settler {
    calls: mpsc::Sender<Call>,
}

impl Settler {
    /// Starts the background task; it ends when all clones are gone.
    pub(super) fn start(link: Arc<Link>, scripts: Arc<Scripts>, keys: Keys) -> Self {
        let (calls, waiting) = mpsc::channel(QUEUE_MAX);
        let worker = Worker { link, scripts, reserved: keys.reserved() };
        tokio::spawn(worker.run(waiting));
        Self { calls }
    }

    /// Settles one message and waits for the server.
    pub(super) async fn settle(&self, member: String, op: Op) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let call = Call { member, op, reply: Some(reply) };
        self.calls.send(call).await.map_err(|_| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Settles without waiting. When the task has too much to do the lease runs out instead.
    pub(super) fn settle_later(&self, member: String, op: Op) {
        let _lease_runs_out = self.calls.try_send(Call { member, op, reply: None });
    }
}

struct Worker {
    link: Arc<Link>,
    scripts: Arc<Scripts>,
    reserved: [String; 4],
}

impl Worker {
    async fn run(self, mut waiting: mpsc::Receiver<Call>) {
        let mut batch = Vec::new();
        while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let (mut acks, mut moves) = (Vec::new(), Vec::new());
            for Call { member, op, reply } in batch.drain(..) {
                match op {
                    Op::Ack => acks.push((member, reply)),
                    Op::Move(to) => moves.push((member, to, reply)),
                }
            }
            if !acks.is_empty() {
                self.ack(acks).await;
            }
            if !moves.is_empty() {
                self.relocate(moves).await;
            }
        }
    }

    async fn ack(&self, calls: Vec<(String, Reply)>) {
        let mut script = self.scripts.ack.prepare_invoke();
        script.key(&self.reserved[..]);
        for (member, _) in &calls {
            script.arg(member);
        }
        let result: Result<Vec<u8>, Error> = self.link.run("acknowledgement", &script).await;
        answer(calls.into_iter().map(|(_, reply)| reply).collect(), result);
    }

    async fn relocate(&self, calls: Vec<(String, Move, Reply)>) {
        let mut script = self.scripts.moves.prepare_invoke();
        script.key(&self.reserved[..]);
        for (place, (member, to, _)) in calls.iter().enumerate() {
            script.key(&to.key);
            let (how, due) = match to.how {
                How::Next => ("next", 0.0),
                How::Last => ("last", 0.0),
                How::At(due) => ("at", due),
            };
            script.arg(member).arg(how).arg(place + 1).arg(format!("{due:.6}"));
            script.arg(&to.text[..]).arg(to.wake.as_deref().unwrap_or(""));
        }
        let result: Result<Vec<u8>, Error> = self.link.run("return of a message", &script).await;
        answer(calls.into_iter().map(|(_, _, reply)| reply).collect(), result);
    }
}

type Reply = Option<oneshot::Sender<Result<(), Error>>>;

fn answer(replies: Vec<Reply>, result: Result<Vec<u8>, Error>) {
    let one = |place: usize| match &result {
        Ok(held) => match held.get(place) {
            Some(1) => Ok(()),
            Some(_) => Err(Error::Stale),
            None => Err(unavailable("the settling script answered too little")),
        },
        Err(error) => Err(error.clone()),
    };
    for (place, reply) in replies.into_iter().enumerate() {
        if let Some(reply) = reply {
            // Whoever asked may have been cancelled; the message is settled all the same.
            let _cancelled = reply.send(one(place));
        }
    }
}
