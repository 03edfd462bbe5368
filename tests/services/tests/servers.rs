//! The servers come up, survive `kill -9` on their port, and the proxy does what it says.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tradewind_services::{Postgres, Proxy, Rabbit, Redis, RedisOptions, eventually};

const SOON: Duration = Duration::from_secs(5);

fn redis(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream.set_read_timeout(Some(SOON)).expect("timeout");
    stream.write_all(format!("{command}\r\n").as_bytes()).expect("write");
    let mut reply = [0; 64];
    let count = stream.read(&mut reply).expect("read");
    String::from_utf8_lossy(&reply[..count]).into_owned()
}

fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn redis_with_a_log_keeps_data_over_a_kill() {
    let mut server = Redis::start(RedisOptions { appendonly: true }).expect("redis");
    assert_eq!(redis(server.port(), "SET a 1"), "+OK\r\n");
    let pid = server.pid();
    server.kill9();
    assert!(!alive(pid));
    server.restart().expect("restart");
    assert_ne!(server.pid(), pid);
    assert_eq!(redis(server.port(), "GET a"), "$1\r\n1\r\n");
    let dir = server.dir().to_path_buf();
    let pid = server.pid();
    drop(server);
    assert!(!alive(pid) && !dir.exists());
}

#[test]
fn redis_without_a_log_is_empty_after_a_kill() {
    let mut server = Redis::start(RedisOptions::default()).expect("redis");
    assert_eq!(redis(server.port(), "SET a 1"), "+OK\r\n");
    server.kill9();
    server.restart().expect("restart");
    assert_eq!(redis(server.port(), "GET a"), "$-1\r\n");
}

#[test]
fn rabbit_comes_up_twice_on_one_port() {
    let mut server = Rabbit::start().expect("rabbit");
    let (pid, port) = (server.pid(), server.port());
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("comm");
    assert_eq!(name.trim(), "beam.smp", "the pid must be the node's own");
    server.kill9();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    server.restart().expect("restart");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
}

#[test]
fn postgres_comes_up_twice_on_one_port() {
    let mut server = Postgres::start().expect("postgres");
    let port = server.port();
    server.kill9();
    server.restart().expect("restart");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
}

#[test]
fn the_proxy_forwards_cuts_holds_and_restores() {
    let server = Redis::start(RedisOptions::default()).expect("redis");
    let proxy = Proxy::start(server.port()).expect("proxy");
    assert_eq!(redis(proxy.port(), "PING"), "+PONG\r\n");

    let mut held = TcpStream::connect(("127.0.0.1", proxy.port())).expect("connect");
    held.write_all(b"PING\r\n").expect("write");
    let mut reply = [0; 7];
    held.read_exact(&mut reply).expect("through the proxy");
    proxy.black_hole();
    held.write_all(b"PING\r\n").expect("write");
    held.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
    assert!(held.read_exact(&mut reply).is_err(), "a black hole lets nothing through");
    proxy.restore();
    held.set_read_timeout(Some(SOON)).expect("timeout");
    held.read_exact(&mut reply).expect("what was held passes on");

    proxy.cut();
    assert!(eventually(SOON, || matches!(held.read(&mut reply), Ok(0) | Err(_))));
    proxy.restore();
    assert_eq!(redis(proxy.port(), "PING"), "+PONG\r\n");
}
