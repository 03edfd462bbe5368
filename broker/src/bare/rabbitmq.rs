//! A durable classic queue with persistent messages.

use futures::StreamExt as _;
use futures::future::try_join_all;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};

use super::{BATCH, BODY_BYTES, BareQueue};
use crate::Error;

pub(super) struct Queue {
    url: String,
    name: String,
}

fn failed(error: lapin::Error) -> Error {
    Error::Unavailable { service: "RabbitMQ", reason: error.to_string() }
}

impl Queue {
    pub(super) async fn declare(url: &str, name: &str) -> Result<Self, Error> {
        let url = url.replacen("pyamqp://", "amqp://", 1);
        let queue = Self { url, name: name.to_owned() };
        let connection = queue.connection().await?;
        let channel = connection.create_channel().await.map_err(failed)?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), durable, FieldTable::default()).await.map_err(failed)?;
        connection.close(200, "done".into()).await.map_err(failed)?;
        Ok(queue)
    }

    async fn connection(&self) -> Result<Connection, Error> {
        Connection::connect(&self.url, ConnectionProperties::default()).await.map_err(failed)
    }
}

impl BareQueue for Queue {
    async fn fill(&self, count: usize) -> Result<(), Error> {
        let connection = self.connection().await?;
        let channel = connection.create_channel().await.map_err(failed)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed)?;
        let body = vec![b'x'; BODY_BYTES];
        let persistent = BasicProperties::default().with_delivery_mode(2);
        for start in (0..count).step_by(BATCH) {
            let writes = (start..count.min(start + BATCH)).map(|_| {
                let options = BasicPublishOptions::default();
                let name = self.name.as_str().into();
                channel.basic_publish("".into(), name, options, &body, persistent.clone())
            });
            let confirms = try_join_all(writes).await.map_err(failed)?;
            try_join_all(confirms).await.map_err(failed)?;
        }
        connection.close(200, "done".into()).await.map_err(failed)
    }

    async fn take(&self, count: usize) -> Result<(), Error> {
        let connection = self.connection().await?;
        let channel = connection.create_channel().await.map_err(failed)?;
        let prefetch = u16::try_from(BATCH * 2).unwrap_or(u16::MAX);
        channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(failed)?;
        let (name, options) = (self.name.as_str().into(), BasicConsumeOptions::default());
        let consumer = channel.basic_consume(name, "bare".into(), options, FieldTable::default());
        let mut consumer = consumer.await.map_err(failed)?;
        let mut done = 0;
        while done < count {
            let Some(delivery) = consumer.next().await else { return Err(Error::Closed) };
            let delivery = delivery.map_err(failed)?;
            done += 1;
            if done % BATCH == 0 || done == count {
                delivery.ack(BasicAckOptions { multiple: true }).await.map_err(failed)?;
            }
        }
        connection.close(200, "done".into()).await.map_err(failed)
    }

    async fn remove(&self) -> Result<(), Error> {
        let connection = self.connection().await?;
        let channel = connection.create_channel().await.map_err(failed)?;
        let name = self.name.as_str().into();
        channel.queue_delete(name, QueueDeleteOptions::default()).await.map_err(failed)?;
        connection.close(200, "done".into()).await.map_err(failed)
    }
}
