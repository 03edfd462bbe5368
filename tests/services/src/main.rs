//! `services run -- CMD ARGS…`: starts one Redis, RabbitMQ and PostgreSQL, runs CMD with their URLs
//! in its environment, stops them, and exits with CMD's code.

use std::process::{Command, ExitCode};
use std::time::Instant;

use tradewind_services::shared::{ENV_AMQP, ENV_POSTGRES, ENV_REDIS};
use tradewind_services::{Error, Postgres, Rabbit, Redis, RedisOptions};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [run, dashes, program, rest @ ..] if run == "run" && dashes == "--" => {
            match with_servers(program, rest) {
                Ok(code) => ExitCode::from(code),
                Err(error) => {
                    eprintln!("services: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        _ => {
            eprintln!("usage: services run -- CMD [ARGS…]");
            ExitCode::from(2)
        }
    }
}

fn with_servers(program: &str, args: &[String]) -> Result<u8, Error> {
    let (redis, rabbit, postgres) = std::thread::scope(|scope| {
        let redis = scope.spawn(|| {
            timed("redis", || Redis::start(RedisOptions { appendonly: true }), Redis::url)
        });
        let rabbit = scope.spawn(|| timed("rabbitmq", Rabbit::start, Rabbit::url));
        let postgres = timed("postgres", Postgres::start, Postgres::url);
        (joined(redis.join()), joined(rabbit.join()), postgres)
    });
    let (redis, rabbit, postgres) = (redis?, rabbit?, postgres?);
    eprintln!("services: running {program} {}", args.join(" "));
    let began = Instant::now();
    let status = Command::new(program)
        .args(args)
        .env(ENV_REDIS, redis.url())
        .env(ENV_AMQP, rabbit.url())
        .env(ENV_POSTGRES, postgres.url())
        .status()
        .map_err(|source| Error::Io { what: format!("running {program}"), source })?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    eprintln!("services: {program} ended with {code} after {:.1?}; stopping", began.elapsed());
    Ok(code)
}

fn timed<T>(
    name: &str,
    start: impl FnOnce() -> Result<T, Error>,
    url: impl FnOnce(&T) -> &str,
) -> Result<T, Error> {
    let began = Instant::now();
    let server = start()?;
    eprintln!("services: {name} ready after {:.1?} at {}", began.elapsed(), url(&server));
    Ok(server)
}

fn joined<T>(result: std::thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
