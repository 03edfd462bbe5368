//! An OpenTelemetry collector of a few lines: takes OTLP/HTTP JSON posts and keeps their spans.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// A span as it was received; ids in lower-case hex, no parent = empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of the process that sent it.
    pub service: String,
    /// Name.
    pub name: String,
    /// Trace.
    pub trace_id: String,
    /// Its own id.
    pub span_id: String,
    /// The span above it.
    pub parent: String,
    /// Its text attributes, as `name=value`.
    pub attributes: Vec<String>,
}

impl Span {
    /// Whether it has this text attribute.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.attributes.contains(&format!("{name}={value}"))
    }
}

/// The listener. Its thread ends with the test process.
#[derive(Debug)]
pub struct Collector {
    port: u16,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Listens on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("address").port();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(&stream, &kept));
            }
        });
        Self { port, spans }
    }

    /// What `[telemetry] otlp_endpoint` is to be.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What has been received so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().expect("not poisoned").clone()
    }
}

/// Answers the requests of one connection until the other side closes it.
fn serve(stream: &TcpStream, kept: &Mutex<Vec<Span>>) {
    let mut reader = BufReader::new(stream);
    while let Some((path, body)) = request(&mut reader) {
        let found = (path == "/v1/traces").then(|| serde_json::from_slice::<Value>(&body).ok());
        let status = match found.flatten() {
            Some(export) => {
                kept.lock().expect("not poisoned").extend(spans_of(&export));
                "200 OK"
            }
            None => "400 Bad Request",
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let mut writer = stream;
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// One request: its path and body; none at the end of the connection.
fn request(reader: &mut BufReader<&TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, body))
}

fn spans_of(export: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in list(export, "resourceSpans") {
        let service = attributes(&resource["resource"]);
        let service = service.iter().find_map(|pair| pair.strip_prefix("service.name="));
        for scope in list(resource, "scopeSpans") {
            for span in list(scope, "spans") {
                spans.push(Span {
                    service: service.unwrap_or_default().to_owned(),
                    name: text(span, "name"),
                    trace_id: text(span, "traceId"),
                    span_id: text(span, "spanId"),
                    parent: text(span, "parentSpanId"),
                    attributes: attributes(span),
                });
            }
        }
    }
    spans
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().map_or(&[], Vec::as_slice)
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_default().to_owned()
}

fn attributes(of: &Value) -> Vec<String> {
    let pairs = list(of, "attributes").iter();
    pairs
        .filter_map(|pair| {
            let value = pair["value"]["stringValue"].as_str()?;
            Some(format!("{}={value}", pair["key"].as_str()?))
        })
        .collect()
}
