//! One attempt in the Python host, from the command to its last words.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tradewind_proto::limits::{XCOM_BYTES_MAX, XCOMS_TOTAL_BYTES_MAX};

use super::frames::{self, Done, Mode, Said, Start};
use super::host::Host;
use super::sessions::{Arrival, Connection, Session};
use crate::logs::{AttemptLog, Stream, pump};
use crate::process::{ProcessTable, kill_tree};
use crate::runtime::AttemptJob;
use crate::runtime::lookup;
use crate::runtime::render::{Rendered, Unrendered};

/// How long output is read after the attempt has ended.
const OUTPUT_LINGER: Duration = Duration::from_millis(200);
/// How long the log connection of an attempt that has ended may take to be noticed.
const LOG_ARRIVAL_MAX: Duration = Duration::from_secs(1);
/// How long the host may take to say how a process ended.
const EXIT_NEWS_MAX: Duration = Duration::from_millis(500);

/// Why there are no last words.
#[derive(Debug)]
pub(super) enum Fault {
    Cancelled,
    Failed(String),
}

/// What an attempt is asked to do.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) job: &'a AttemptJob,
    pub(super) mode: Mode,
    pub(super) rendered: &'a [Rendered],
    pub(super) unrendered: &'a [Unrendered],
}

/// What limits it.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    pub(super) start: Duration,
    pub(super) kill_grace: Duration,
    pub(super) processes: &'a ProcessTable,
    pub(super) cancel: &'a CancellationToken,
}

/// Has the host run an attempt. The second value is its process id, 0 if it never had one.
pub(super) async fn converse(
    host: &Host,
    mut session: Session,
    order: Order<'_>,
    limits: Limits<'_>,
) -> (Result<Done, Fault>, u32) {
    let connected = match connected(host, &mut session, &order, &limits).await {
        Ok(connected) => connected,
        Err(fault) => return (Err(fault), 0),
    };
    let Connected { control, pid, log } = connected;
    let _registered = limits.processes.register(order.job.attempt_id, pid);
    let log = log.map(|stream| follow(stream, &order.job.log));
    let mut talk = Talk { session, control, log };
    let result = tokio::select! {
        biased;
        () = limits.cancel.cancelled() => Err(Fault::Cancelled),
        () = host.dead() => Err(Fault::Failed(host.death())),
        result = talk.exchange(&order) => result,
    };
    if result.is_err() {
        // Also after an exit without last words: what the process had started is still there.
        kill_tree(order.job.attempt_id, pid, limits.kill_grace, talk.end_of_control()).await;
    }
    if talk.log.is_none() {
        talk.late_log(&order.job.log).await;
    }
    if let Some(mut log) = talk.log.take()
        && timeout(OUTPUT_LINGER, &mut log).await.is_err()
    {
        log.abort();
    }
    (result, u32::try_from(pid).unwrap_or_default())
}

struct Connected {
    control: Connection,
    pid: i32,
    log: Option<Connection>,
}

async fn connected(
    host: &Host,
    session: &mut Session,
    order: &Order<'_>,
    limits: &Limits<'_>,
) -> Result<Connected, Fault> {
    let job = order.job;
    let command = json!({
        "op": "run", "attempt": job.attempt_id, "fileloc": job.grant.fileloc,
        "source_hash": job.grant.source_hash, "dag_id": job.workload.dag_id,
        "task_id": job.workload.task_id,
    });
    host.run(&command).await.map_err(Fault::Failed)?;
    tokio::select! {
        biased;
        () = limits.cancel.cancelled() => Err(Fault::Cancelled),
        () = host.dead() => Err(Fault::Failed(host.death())),
        connected = control_of(session) => connected,
        () = sleep(limits.start) => Err(Fault::Failed(format!(
            "the DAG file {} was not imported within {:?}", job.grant.fileloc, limits.start
        ))),
    }
}

/// The two connections arrive in any order.
async fn control_of(session: &mut Session) -> Result<Connected, Fault> {
    let mut log = None;
    loop {
        match session.arrivals.recv().await {
            Some(Arrival::Control(control, pid)) => return Ok(Connected { control, pid, log }),
            Some(Arrival::Log(stream)) => log = Some(stream),
            Some(Arrival::Exited(text)) => return Err(Fault::Failed(text)),
            None => return Err(Fault::Failed("the worker closed its socket".to_owned())),
        }
    }
}

struct Talk {
    session: Session,
    control: Connection,
    log: Option<JoinHandle<()>>,
}

impl Talk {
    async fn exchange(&mut self, order: &Order<'_>) -> Result<Done, Fault> {
        let job = order.job;
        let start = Start {
            mode: order.mode,
            context: &job.grant.context,
            task: &job.grant.task,
            rendered: order.rendered,
            unrendered: order.unrendered,
            dag_id: &job.workload.dag_id,
            task_id: &job.workload.task_id,
            attempt_id: job.attempt_id.to_string(),
            hostname: &job.hostname,
            trace_parent: &job.trace_parent,
            xcom_bytes_max: XCOM_BYTES_MAX,
            xcoms_total_bytes_max: XCOMS_TOTAL_BYTES_MAX,
        };
        if frames::write(&mut self.control, &start).await.is_err() {
            return Err(self.silent_end(&job.log).await);
        }
        loop {
            // Not cancel-safe, so it is finished before anything else is looked at but arrivals,
            // which are taken beside it.
            let said = self.read_beside_arrivals(&job.log).await?;
            let answer = match said {
                Some(Said::Done(done)) => return Ok(done),
                Some(Said::Xcom(query)) => {
                    lookup::xcom(&job.api, &query).await.map(|reply| json!(reply))
                }
                Some(Said::Variable(query)) => {
                    lookup::variable(&job.api, &query).await.map(|reply| json!(reply))
                }
                None => return Err(self.silent_end(&job.log).await),
            };
            let answer = answer.unwrap_or_else(|text| frames::error(&text));
            if frames::write(&mut self.control, &answer).await.is_err() {
                return Err(self.silent_end(&job.log).await);
            }
        }
    }

    async fn read_beside_arrivals(&mut self, log: &AttemptLog) -> Result<Option<Said>, Fault> {
        let mut exited: Option<String> = None;
        let read = frames::read(&mut self.control);
        let mut read = std::pin::pin!(read);
        loop {
            tokio::select! {
                biased;
                said = &mut read => {
                    return match (said.map_err(Fault::Failed)?, exited) {
                        (None, Some(text)) => Err(Fault::Failed(ended_without(&text))),
                        (said, _) => Ok(said),
                    };
                }
                arrival = self.session.arrivals.recv(), if exited.is_none() => match arrival {
                    Some(Arrival::Log(stream)) => self.log = Some(follow(stream, log)),
                    Some(Arrival::Exited(text)) => exited = Some(text),
                    Some(Arrival::Control(..)) | None => {}
                },
            }
        }
    }

    /// The control connection ended first; the host may still say why.
    async fn silent_end(&mut self, log: &AttemptLog) -> Fault {
        let news = async {
            loop {
                match self.session.arrivals.recv().await {
                    Some(Arrival::Exited(text)) => return text,
                    Some(Arrival::Log(stream)) => self.log = Some(follow(stream, log)),
                    Some(Arrival::Control(..)) => {}
                    None => std::future::pending().await,
                }
            }
        };
        let text = timeout(EXIT_NEWS_MAX, news).await;
        Fault::Failed(ended_without(text.as_deref().unwrap_or("no exit code is known")))
    }

    /// A task may be done before its log connection was looked at: everything that it printed is
    /// still in there.
    async fn late_log(&mut self, log: &AttemptLog) {
        let stream = async {
            loop {
                match self.session.arrivals.recv().await {
                    Some(Arrival::Log(stream)) => return Some(stream),
                    Some(Arrival::Control(..)) => {}
                    Some(Arrival::Exited(_)) | None => return None,
                }
            }
        };
        if let Ok(Some(stream)) = timeout(LOG_ARRIVAL_MAX, stream).await {
            self.log = Some(follow(stream, log));
        }
    }

    async fn end_of_control(&mut self) {
        let mut rest = [0; 4096];
        while matches!(self.control.read(&mut rest).await, Ok(1..)) {}
    }
}

fn ended_without(text: &str) -> String {
    format!("the task's process ended without a result: {text}")
}

fn follow(stream: Connection, log: &AttemptLog) -> JoinHandle<()> {
    let log = log.clone();
    tokio::spawn(async move { pump(stream, Stream::Stdout, &log, &mut Vec::new()).await })
}
