//! `/metrics` for Prometheus and its kin.
//!
//! Anybody who can reach the port may ask, as often as he likes, and the agent has one thread: what
//! was rendered is good for a second, a connection carries one request, and whoever neither
//! reads nor writes makes room for others.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
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
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::progress::{Moved, Progress};
use super::state::Shared;
use crate::report::exposition::Format;

/// Connections at one time.
const CONNECTIONS: usize = 16;
/// A request must have come whole by then.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// A connection is closed when no byte has moved for so long.
const IDLE_AT_MOST: Duration = Duration::from_secs(10);
/// A connection is closed after that, whatever it does.
const AT_MOST: Duration = Duration::from_mins(1);
/// What was rendered is good for so long.
const FRESH: Duration = Duration::from_secs(1);
/// An address that is not there yet is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Serves until the agent ends, on whatever address is wanted.
pub(super) async fn serve(mut address: watch::Receiver<SocketAddr>, state: Shared) {
    let pages = Rc::new(RefCell::new(Pages::default()));
    let mut listener = bind(&mut address, &state).await;
    let mut places = Vec::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Ok(()) = address.changed() => {
                // Of two addresses with one port, the new one may include the old.
                drop(listener);
                listener = bind(&mut address, &state).await;
                continue;
            }
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!("could not accept a scrape: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        make_room(&mut places);
        let (stream, moved) = Progress::new(stream);
        let one = connection(stream, Rc::clone(&moved), Rc::clone(&state), Rc::clone(&pages));
        places.push((spawn_local(one), moved));
    }
}

/// Ends the connection that has been idle for longest, if there is no place left.
fn make_room(places: &mut Vec<(JoinHandle<()>, Moved)>) {
    places.retain(|(task, _)| !task.is_finished());
    if places.len() < CONNECTIONS {
        return;
    }
    let idlest = places.iter().enumerate().min_by_key(|(_, (_, moved))| moved.get());
    if let Some((place, _)) = idlest {
        places.swap_remove(place).0.abort();
    }
}

/// Answers one request.
async fn connection(stream: Progress, moved: Moved, state: Shared, pages: Rc<RefCell<Pages>>) {
    let service = service_fn(|request| {
        let response = answer(&request, &state, &pages);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        // Who sends requests and reads no answers would have them all rendered.
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let idle = async {
        while moved.get().elapsed() < IDLE_AT_MOST {
            sleep_until(moved.get() + IDLE_AT_MOST).await;
        }
    };
    // What a scraper does wrong is not our trouble.
    tokio::select! {
        _ended = timeout(AT_MOST, served) => {}
        () = idle => {}
    }
}

async fn bind(address: &mut watch::Receiver<SocketAddr>, state: &Shared) -> TcpListener {
    loop {
        let wanted = *address.borrow_and_update();
        match TcpListener::bind(wanted).await {
            Ok(listener) => {
                log::info!("metrics on http://{wanted}/metrics");
                state.borrow_mut().warnings.remove("metrics");
                return listener;
            }
            Err(error) => {
                let warning = format!("metrics are not served on {wanted}: {error}");
                let before = state.borrow_mut().warnings.insert("metrics", warning.clone());
                if before.as_ref() != Some(&warning) {
                    log::warn!("{warning}");
                }
                let _changed = timeout(AGAIN, address.changed()).await;
            }
        }
    }
}

/// What was rendered last, a page for each format.
#[derive(Default)]
struct Pages(Vec<Page>);

struct Page {
    format: Format,
    made: Instant,
    text: Bytes,
    /// Made when somebody asks for it.
    gzip: Option<Bytes>,
}

impl Pages {
    /// A page that is fresh; `render` makes it where there is none.
    fn get(
        &mut self,
        now: Instant,
        (format, is_compressed): (Format, bool),
        render: impl FnOnce() -> String,
    ) -> Bytes {
        let place = self.0.iter().position(|page| page.format == format);
        let page = match place.map(|place| self.0.swap_remove(place)) {
            Some(page) if now < page.made + FRESH => page,
            _ => Page { format, made: now, text: render().into(), gzip: None },
        };
        self.0.push(page);
        let Some(page) = self.0.last_mut() else { return Bytes::new() };
        if is_compressed {
            page.gzip.get_or_insert_with(|| compressed(&page.text)).clone()
        } else {
            page.text.clone()
        }
    }
}

fn answer<B>(
    request: &Request<B>,
    state: &Shared,
    pages: &RefCell<Pages>,
) -> Response<Full<Bytes>> {
    let plain = "text/plain; charset=utf-8";
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return response(StatusCode::METHOD_NOT_ALLOWED, plain, "only GET\n".into());
    }
    match request.uri().path() {
        "/metrics" => {
            let format = Format::accepted(header(request.headers(), &ACCEPT));
            let gzip = header(request.headers(), &ACCEPT_ENCODING).split(',').any(|coding| {
                let mut parts = coding.split(';').map(str::trim);
                parts.next() == Some("gzip") && parts.next() != Some("q=0")
            });
            let render = || state.borrow_mut().metrics(format);
            let page = pages.borrow_mut().get(Instant::now(), (format, gzip), render);
            let mut answer = response(StatusCode::OK, format.content_type(), page);
            let value = hyper::header::HeaderValue::from_static;
            if gzip {
                answer.headers_mut().insert(CONTENT_ENCODING, value("gzip"));
            }
            answer.headers_mut().insert(hyper::header::VARY, value("accept, accept-encoding"));
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

fn compressed(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Memory takes all that is written to it.
    let _whole = encoder.write_all(text);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_rendered_once_a_second() {
        let (mut pages, mut rendered) = (Pages::default(), 0);
        let mut get = |now, format, gzip| {
            pages.get(now, (format, gzip), || {
                rendered += 1;
                format!("page {rendered}")
            })
        };
        let now = Instant::now();
        assert_eq!(get(now, Format::Text, false), "page 1");
        assert_eq!(get(now, Format::OpenMetrics, false), "page 2");
        assert_eq!(get(now + FRESH / 2, Format::Text, false), "page 1");
        assert_eq!(get(now + FRESH / 2, Format::Text, true)[..2], [0x1f, 0x8b]);
        assert_eq!(get(now + FRESH, Format::Text, false), "page 3");
    }
}
