//! `task send`: publish, and wait if asked.

use tradewind_proto::celery::Request;

use super::call;
use super::result::print_ended;
use crate::args::TaskSendArgs;
use crate::context::Context;
use crate::failure::Failure;

pub(crate) async fn send(context: &Context, args: TaskSendArgs) -> Result<(), Failure> {
    let id = args.id.clone().unwrap_or_else(|| context.ids.next().to_string());
    let mut request = call::request(&args, id, context.clock.now())?;
    let limit = call::limit(args.timeout)?;
    // Opened first: a result that goes to a reply queue needs the queue to be there.
    let results = if args.wait { Some(context.results().await?) } else { None };
    request.reply_to = results.as_ref().and_then(|results| results.reply_to().map(str::to_owned));
    publish(context, &args, request.clone()).await?;
    let Some(results) = results else {
        println!("{}", request.id);
        return Ok(());
    };
    // The id is for people here; the result is the data.
    eprintln!("{}", request.id);
    let found = results.wait(&request.id, limit).await?;
    let found = found.ok_or_else(|| {
        Failure::unavailable(format!(
            "task {} has not ended within {} s; `tradewind task result {} --wait` waits on",
            request.id, args.timeout, request.id
        ))
    })?;
    print_ended(&found, false)
}

async fn publish(
    context: &Context,
    args: &TaskSendArgs,
    mut request: Request,
) -> Result<(), Failure> {
    let routes = context.routes()?;
    let route = routes.find(&args.name).cloned().unwrap_or_default();
    let broker = context.broker().await?;
    request.priority = args.priority.or(route.priority).unwrap_or_default();
    let mut message = request.to_message();
    message.expiration_ms = request.expires.map(|at| {
        let left = at.duration_since(context.clock.now()).as_millis();
        u64::try_from(left).unwrap_or(0)
    });
    let queue = args.queue.clone().or_else(|| route.queue.filter(|_| args.exchange.is_none()));
    let exchange = args.exchange.clone().or(route.exchange);
    if let (None, Some(exchange)) = (&queue, exchange) {
        let key = args.routing_key.clone().or(route.routing_key);
        let key = key.unwrap_or_else(|| args.name.clone());
        broker.publish_routed(&exchange, &key, message).await?;
        return Ok(());
    }
    let queue = queue.unwrap_or_else(|| routes.default_queue().to_owned());
    broker.declare(std::slice::from_ref(&queue)).await?;
    broker.publish(&queue, message).await?;
    Ok(())
}
