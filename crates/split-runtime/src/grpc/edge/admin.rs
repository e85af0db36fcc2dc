//! `/live`, `/ready` and `/metrics` over plain HTTP/1.1, on a port of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::core::Core;
use super::guard::Connections;

/// Longest request head that is read.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Most requests at a time.
const MAX_REQUESTS: usize = 16;

/// Time for a request and its answer.
const WITHIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(listener: TcpListener, core: Arc<Core>, connections: Arc<Connections>) {
    let permits = Arc::new(Semaphore::new(MAX_REQUESTS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            continue;
        };
        let (core, connections) = (Arc::clone(&core), Arc::clone(&connections));
        tokio::spawn(async move {
            // Who is too slow or goes away gets no answer.
            let _ = tokio::time::timeout(WITHIN, serve(stream, &core, &connections)).await;
            drop(permit);
        });
    }
}

async fn serve(
    mut stream: TcpStream,
    core: &Core,
    connections: &Connections,
) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD_BYTES {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        head.extend_from_slice(&buffer[..count]);
    }
    let metrics = || {
        let snapshot = core.snapshot(connections.count() as u64);
        core.metrics.to_text(&snapshot)
    };
    stream
        .write_all(answer(&head, core.is_ready(), metrics).as_bytes())
        .await?;
    stream.shutdown().await
}

/// The answer to a request head, whatever it holds; `metrics` is asked only for its own path.
pub fn answer(head: &[u8], ready: bool, metrics: impl FnOnce() -> String) -> String {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let complete = head.windows(4).any(|end| end == b"\r\n\r\n");
    let is_http = words
        .next()
        .is_some_and(|word| word.starts_with(b"HTTP/1."));
    let (status, body) = if !complete || !is_http {
        ("400 Bad Request", "not a request\n".to_owned())
    } else if method != b"GET" && method != b"HEAD" {
        ("405 Method Not Allowed", "only GET\n".to_owned())
    } else {
        match path {
            b"/live" => ("200 OK", "live\n".to_owned()),
            b"/ready" if ready => ("200 OK", "ready\n".to_owned()),
            b"/ready" => ("503 Service Unavailable", "not ready\n".to_owned()),
            b"/metrics" => ("200 OK", metrics()),
            _ => ("404 Not Found", "try /live, /ready, /metrics\n".to_owned()),
        }
    };
    let length = body.len();
    let shown = if method == b"HEAD" { "" } else { &body };
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{shown}"
    )
}
