//! The root span of a run's trace.
//!
//! Its ids are stored with the run, so they must be known before the transaction that creates or
//! starts the run; only who wins that transaction lets the span be exported. Never a child of what
//! the scheduler is doing: one run, one trace.

use tracing::{Span, field, info_span};
use tradewind_broker::trace;

/// A root span, exported when dropped.
#[derive(Debug)]
pub(crate) struct RunSpan(Span);

impl RunSpan {
    /// A new trace for a run.
    pub(crate) fn new(dag_id: &str, run_id: &str, run_type: &str) -> Self {
        Self(info_span!(
            parent: None,
            "dag_run",
            dag_id,
            run_id,
            run_type,
            { trace::DISCARDED } = field::Empty,
        ))
    }

    /// What the run's other spans join; empty when tracing is off.
    pub(crate) fn trace_parent(&self) -> String {
        trace::traceparent(&self.0)
    }

    /// Another scheduler was first, and with it its trace: this one is not exported.
    pub(crate) fn discard(self) {
        self.0.record(trace::DISCARDED, true);
    }
}
