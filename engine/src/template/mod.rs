//! Jinja templates of operator fields, rendered as Airflow's Jinja2 would render them.
//!
//! Never renders differently on purpose: what is not supported exactly is an error, and the caller lets
//! Python's Jinja2 try. Reads XComs and variables only through [`Lookups`].

mod context;
mod datetime;
mod environment;
mod json;
mod lex;
mod lookup;
mod macros;
mod methods;
mod object;
mod ops;
mod pystr;
mod rewrite;
mod strftime;
mod timedelta;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use minijinja::ErrorKind;
use thiserror::Error;
use tradewind_proto::execution::{RunContext, XcomQuery, XcomReply};

use lookup::LookupFailed;

/// Instructions that one template may execute.
pub const FUEL_MAX: u64 = 1_000_000;

/// What a template is rendered with.
#[derive(Debug, Clone)]
pub struct TemplateContext {
    /// The run, as the claim gave it.
    pub run: RunContext,
    /// Task name.
    pub task_id: String,
    /// Operator class.
    pub operator: String,
    /// The schedule's instant before the logical date, for `prev_ds` and `prev_execution_date`; these
    /// names are absent without it.
    pub previous_date: Option<Timestamp>,
}

/// Where a template's XComs and variables come from. Blocks: render on a thread that may.
pub trait Lookups: Send + Sync + 'static {
    /// XCom values. Errors are texts for people.
    fn xcom_pull(&self, query: XcomQuery) -> Result<XcomReply, String>;

    /// A variable's text, or none when there is no such variable.
    fn variable(&self, key: &str) -> Result<Option<String>, String>;
}

/// Why a template was not rendered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The template uses something that this engine does not render, or it is not valid.
    #[error("{0}")]
    Unsupported(String),
    /// A name in it is not defined (Jinja's StrictUndefined).
    #[error("{0}")]
    Undefined(String),
    /// It needs an XCom or variable that could not be read.
    #[error("{0}")]
    Lookup(String),
    /// It ran for too long.
    #[error("the template executes more than {FUEL_MAX} instructions")]
    OutOfFuel,
}

impl TemplateError {
    /// Whether rendering again may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Lookup(_))
    }

    fn from_engine(error: &minijinja::Error) -> Self {
        if let Some(failed) = lookup_failure(error) {
            return Self::Lookup(failed);
        }
        let text = describe(error);
        match error.kind() {
            ErrorKind::OutOfFuel => Self::OutOfFuel,
            ErrorKind::UndefinedError => Self::Undefined(text),
            _ => Self::Unsupported(text),
        }
    }
}

fn describe(error: &minijinja::Error) -> String {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    match error.detail() {
        Some(detail) => format!("{}: {detail}{line}", error.kind()),
        None => format!("{}{line}", error.kind()),
    }
}

fn lookup_failure(error: &minijinja::Error) -> Option<String> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(LookupFailed(text)) = error.downcast_ref() {
            return Some(text.clone());
        }
        source = error.source();
    }
    None
}

/// Renders a template to text. Text without a template comes back as it is.
pub fn render(
    source: &str,
    context: &TemplateContext,
    lookups: Arc<dyn Lookups>,
) -> Result<String, TemplateError> {
    if !["{{", "{%", "{#"].iter().any(|mark| source.contains(mark)) {
        return Ok(source.to_owned());
    }
    let rewritten = rewrite::operators(source)
        .map_err(|unread| TemplateError::Unsupported(unread.to_string()))?;
    let env = environment::build();
    let root = context::build(context, &lookups);
    env.render_str(&rewritten, root).map_err(|error| TemplateError::from_engine(&error))
}

/// Lets objects that hold the lookups be printed for debugging.
#[derive(Clone)]
struct Source(Arc<dyn Lookups>);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

#[cfg(test)]
mod tests;
