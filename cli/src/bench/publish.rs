//! `bench publish`: confirmed messages per second, beside a bare client loop.

use tradewind_broker::{Error, bare};

use super::{Report, fleet, rounded};
use crate::args::FleetBenchArgs;
use crate::context::Context;
use crate::failure::Failure;

pub(crate) async fn run(context: &Context, args: &FleetBenchArgs) -> Result<(), Failure> {
    let mut report = Report::new(args.output.format());
    let broker = context.broker().await?;
    let results = context.results().await?;
    let queue = fleet::queue_name(context);
    let count = args.messages as usize;
    report.line(&format!("bench publish: {count} messages on {}", broker.kind()));
    let message = fleet::noop(context, results.as_ref());
    let took = fleet::publish(context, broker.as_ref(), &queue, &message, count).await?;
    let ours = count as f64 / took.as_secs_f64();
    report.add("publish_per_second", rounded(ours), &format!("publish: {ours:.0} messages/s"));
    broker.purge(&queue).await?;
    let url = context.config.text("broker", "url");
    match bare::run(url, &format!("{queue}-bare"), count).await {
        Ok(loops) => {
            let bare = count as f64 / loops.publish.as_secs_f64();
            let line =
                format!("bare client loop (confirmed in batches of 64): {bare:.0} messages/s");
            report.add("bare_publish_per_second", rounded(bare), &line);
            let ratio = ours / bare;
            report.add("ratio", rounded(ratio), &format!("ratio: {ratio:.2} of the bare loop"));
        }
        Err(Error::Config(reason)) => report.line(&format!("bare client loop: {reason}")),
        Err(error) => return Err(error.into()),
    }
    report.end();
    Ok(())
}
