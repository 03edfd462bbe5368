//! Every example runs to its end.
#![allow(unreachable_pub, reason = "each example is a program and a module of this test")]

#[path = "../examples/canvas.rs"]
mod canvas;
#[path = "../examples/graceful_stop.rs"]
mod graceful_stop;
#[path = "../examples/hello.rs"]
mod hello;
#[path = "../examples/retries.rs"]
mod retries;
#[path = "../examples/routing.rs"]
mod routing;

#[test]
fn all_examples_run() {
    hello::main().expect("hello");
    retries::main().expect("retries");
    canvas::main().expect("canvas");
    routing::main().expect("routing");
    graceful_stop::main().expect("graceful_stop");
}
