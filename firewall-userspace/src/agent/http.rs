//! `/metrics` for Prometheus and its kin.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;

use super::state::Shared;
use crate::report::exposition::Format;

/// Connections at one time.
const CONNECTIONS: usize = 16;
/// A request must have come whole by then.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// A connection is closed after that, whatever it does.
const AT_MOST: Duration = Duration::from_mins(5);
/// An address that is not there yet is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Serves until the agent ends.
pub(super) async fn serve(address: SocketAddr, state: Shared) {
    let listener = bind(address, &state).await;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!("could not accept a scrape: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let state = Rc::clone(&state);
        spawn_local(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &state);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_WITHIN)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            // What a scraper does wrong is not our trouble.
            let _ended = tokio::time::timeout(AT_MOST, connection).await;
            drop(permit);
        });
    }
}

async fn bind(address: SocketAddr, state: &Shared) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                log::info!("metrics on http://{address}/metrics");
                state.borrow_mut().warnings.remove("metrics");
                return listener;
            }
            Err(error) => {
                let warning = format!("metrics are not served on {address}: {error}");
                let news = state.borrow_mut().warnings.insert("metrics", warning.clone());
                if news.is_none() {
                    log::warn!("{warning}");
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn answer<B>(request: &Request<B>, state: &Shared) -> Response<Full<Bytes>> {
    let plain = "text/plain; charset=utf-8";
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return response(StatusCode::METHOD_NOT_ALLOWED, plain, "only GET\n".into());
    }
    match request.uri().path() {
        "/metrics" => {
            let format = Format::accepted(header(request.headers(), &ACCEPT));
            let text = state.borrow_mut().metrics(format);
            let gzip = header(request.headers(), &ACCEPT_ENCODING).split(',').any(|coding| {
                let mut parts = coding.split(';').map(str::trim);
                parts.next() == Some("gzip") && parts.next() != Some("q=0")
            });
            let mut answer = match compressed(&text).filter(|_| gzip) {
                Some(bytes) => {
                    let mut answer = response(StatusCode::OK, format.content_type(), bytes);
                    let gzip = hyper::header::HeaderValue::from_static("gzip");
                    answer.headers_mut().insert(CONTENT_ENCODING, gzip);
                    answer
                }
                None => response(StatusCode::OK, format.content_type(), text.into()),
            };
            let vary = hyper::header::HeaderValue::from_static("accept, accept-encoding");
            answer.headers_mut().insert(hyper::header::VARY, vary);
            answer
        }
        "/" => response(StatusCode::OK, plain, "firewall: metrics are at /metrics\n".into()),
        _ => response(StatusCode::NOT_FOUND, plain, "metrics are at /metrics\n".into()),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn compressed(text: &str) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok().map(Bytes::from)
}
