//! W3C trace context in message headers: one trace joins producer, scheduler, worker and task.
//!
//! Header form (W3C Trace Context level 1): `00-<32 hex trace id>-<16 hex span id>-<2 hex flags>`.

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, trace};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Attribute of a span that must not be exported: what it stands for did not happen.
pub const DISCARDED: &str = "discarded";

/// Makes `span` a child of the span that `traceparent` names. Malformed text is ignored: a bad trace
/// header must never stop a task.
pub fn set_parent(span: &Span, traceparent: &str) {
    if let Some(remote) = parse(traceparent) {
        // Fails only when no OpenTelemetry layer is installed: then there is no trace to join.
        let _unset = span.set_parent(Context::new().with_remote_span_context(remote));
    }
}

/// The `traceparent` of a span; empty when tracing is off.
pub fn traceparent(span: &Span) -> String {
    let context = span.context();
    let current = trace::TraceContextExt::span(&context);
    let current = current.span_context();
    if !current.is_valid() {
        return String::new();
    }
    format!("00-{}-{}-{:02x}", current.trace_id(), current.span_id(), current.trace_flags().to_u8())
}

fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace_id, span_id, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" || trace_id.len() != 32 || span_id.len() != 16 {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_the_form_of_the_specification() {
        let context = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let context = context.expect("valid");
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
        assert!(context.is_sampled());
    }

    #[test]
    fn refuses_anything_else() {
        for text in [
            "",
            "00",
            "00-xyz-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
