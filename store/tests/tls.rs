//! TLS to a PostgreSQL whose certificate a private authority has signed: every connection of a store.

use std::time::Duration;

use tokio_postgres::NoTls;
use tradewind_services::{Postgres, Tls};
use tradewind_store::{AdminStore, DataStore, Error, Options, PostgresStore};

/// For anything that should happen soon.
const SOON: Duration = Duration::from_secs(20);

/// Whether each connection of ours is encrypted, as the server sees it.
async fn encrypted(url: &str) -> Vec<bool> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connected");
    tokio::spawn(connection);
    let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
               WHERE application_name = 'tradewind'";
    let rows = client.query(sql, &[]).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_is_encrypted_and_verified() {
    let tls = Tls::new().expect("certificates");
    let server = Postgres::start_tls(&tls).expect("PostgreSQL starts");
    let url = format!("{}?schema=tw&sslmode=verify-full", server.url());
    let trusting = Options { ca_file: Some(tls.authority()), ..Options::default() };
    let store = PostgresStore::connect(&url, &trusting).expect("a usable URL");
    let mut wakeups = store.wakeups();
    store.migrate().await.expect("migrated");
    // One comes when the listening connection stands.
    tokio::time::timeout(SOON, wakeups.recv()).await.expect("it listens").expect("a wake-up");
    store.set_variable("k", "v").await.expect("set");
    assert_eq!(store.variable("k").await.expect("read").as_deref(), Some("v"));
    let all = encrypted(server.url()).await;
    assert!(all.len() >= 2 && all.iter().all(|encrypted| *encrypted), "{all:?}");

    // The URL alone can say it all.
    let alone = format!("{url}&sslrootcert={}", tls.authority().display());
    let connect = |url: &str| PostgresStore::connect(url, &Options::default()).expect("usable");
    connect(&alone).health().await.expect("trusted");
    // For another name the certificate is worth nothing, and an unknown authority is not trusted.
    let named = alone.replacen("127.0.0.1", "elsewhere.example", 1) + "&hostaddr=127.0.0.1";
    for bad in [named, url] {
        let error = connect(&bad).health().await.expect_err("refused");
        assert!(
            matches!(&error, Error::Unavailable(text) if text.contains("certificate")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_at_once() {
    let ca_file = Some("/no/such/file.pem".into());
    let options = Options { ca_file, ..Options::default() };
    let refused = |url: &str| PostgresStore::connect(url, &options).expect_err(url).to_string();
    let text = refused("postgres://u:hunter2@h/d?sslmode=require");
    assert!(text.contains("ca_file = /no/such/file.pem") && !text.contains("hunter2"), "{text}");
    let text = refused("postgres://u:hunter2@h/d?sslmode=maybe");
    assert!(text.contains("verify-full") && !text.contains("hunter2"), "{text}");
}
