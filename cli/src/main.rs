mod args; mod assets; mod config; mod failure; mod output; mod telemetry; mod admin;
fn main() {}
