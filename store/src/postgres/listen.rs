//! Hears `NOTIFY` on a connection of its own, and connects again when it breaks.

use std::time::Duration;

use tokio::sync::broadcast;
use tokio_postgres::AsyncMessage;
use tradewind_postgres::Target;

/// The channel of all deployments in a database; the payload says whose schema.
pub(super) const CHANNEL: &str = "tradewind_wake";
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until aborted.
pub(super) async fn run(server: Target, payload: String, wake: broadcast::Sender<()>) {
    let mut said = false;
    loop {
        let error = match listen(&server, &payload, &wake, &mut said).await {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) => error.to_string(),
        };
        if !said {
            tracing::warn!(error, "cannot listen for wake-ups; schedulers poll meanwhile");
            said = true;
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn listen(
    server: &Target,
    payload: &str,
    wake: &broadcast::Sender<()>,
    said: &mut bool,
) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = server.config.connect(server.tls.clone()).await?;
    let command = format!("LISTEN {CHANNEL}");
    let mut subscribe = std::pin::pin!(client.batch_execute(&command));
    let mut subscribed = false;
    loop {
        tokio::select! {
            biased;
            done = &mut subscribe, if !subscribed => {
                done?;
                subscribed = true;
                *said = false;
                // What was said while nobody listened.
                let _ = wake.send(());
            }
            message = std::future::poll_fn(|cx| connection.poll_message(cx)) => match message {
                None => return Ok(()),
                Some(Err(error)) => return Err(error),
                Some(Ok(AsyncMessage::Notification(n))) if n.payload() == payload => {
                    let _ = wake.send(());
                }
                Some(Ok(_)) => {}
            },
        }
    }
}
