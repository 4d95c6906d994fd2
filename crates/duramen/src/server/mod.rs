//! The daemon's HTTP side. Owns the address, the routes and the bounds on what a client may cost; what is asked is answered by
//! [`query`], what is sent is taken by [`ingest`].

mod backup;
mod connections;
pub mod counts;
mod guard;
mod ingest;
mod page;
pub mod power;
pub mod prometheus;
mod query;
pub mod room;
pub mod samples;
pub mod status;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::client::OPENING_HEADER;
use crate::config::HttpConfig;
use crate::daemon::Shared;
use crate::server::connections::Limits;
use crate::server::guard::Guard;
use crate::server::room::{Full, Held};
use crate::stop::Stop;

/// Threads for work that takes its time, beside one for each connection: so that a write never waits for one behind tails and
/// queries, even if some of those go on for a moment after their clients have left. How many of each work is [`room`]'s business.
const THREADS_SPARE: usize = 16;

/// Takes an address of this machine's own.
///
/// # Errors
/// It is none, can be reached from other machines, or is taken.
pub fn bind(address: &str) -> anyhow::Result<TcpListener> {
    bind_any(address, |found| {
        anyhow::ensure!(
            found.ip().is_loopback(),
            "{address} can be reached from other machines: that needs TLS and a token; see tls_listen in [http] of the configuration"
        );
        Ok(())
    })
}

fn bind_any(address: &str, check: impl Fn(SocketAddr) -> anyhow::Result<()>) -> anyhow::Result<TcpListener> {
    let mut found = address.to_socket_addrs().with_context(|| format!("{address} is no ADDRESS:PORT"))?;
    let found: SocketAddr = found.next().with_context(|| format!("{address} has no address"))?;
    check(found)?;
    let listener = TcpListener::bind(found)
        .with_context(|| format!("cannot listen on {found}; name another address with --listen"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// An address that other machines reach, with what it needs.
pub struct Public {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    token: Arc<str>,
}

impl Public {
    /// As the configuration says; `None`: there is none.
    ///
    /// # Errors
    /// Certificate, key or token are missing, cannot be read, or are none; the address is taken.
    pub fn of(config: &HttpConfig) -> anyhow::Result<Option<Public>> {
        let Some(address) = &config.tls_listen else { return Ok(None) };
        let needed = (&config.tls_certificate, &config.tls_key, &config.token_file);
        let (Some(certificate), Some(key), Some(token)) = needed else {
            anyhow::bail!("http.tls_listen needs tls_certificate, tls_key and token_file");
        };
        let acceptor = connections::tls(certificate, key)?;
        let token = read_token(token)?;
        Ok(Some(Public { listener: bind_any(address, |_| Ok(()))?, acceptor, token }))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The first line of a file that only its owner should read.
#[allow(clippy::disallowed_methods, reason = "the token's file is no data")]
fn read_token(file: &std::path::Path) -> anyhow::Result<Arc<str>> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the token in {name}"))?;
    let token = text.lines().next().unwrap_or("").trim();
    anyhow::ensure!(token.len() >= 16, "the token in {name} is shorter than 16 characters: anybody could guess it");
    Ok(token.into())
}

/// Serves until the daemon stops.
pub fn serve(listener: TcpListener, public: Option<Public>, shared: Arc<Shared>) {
    let threads = shared.config.http.connections_max.saturating_add(THREADS_SPARE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(threads).build();
    let served = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(serve_async(listener, public, shared.clone()));
        // Answers that nobody reads must not keep the daemon.
        runtime.shutdown_timeout(Duration::from_secs(2));
        result
    });
    if let Err(error) = served {
        shared.fail(&format!("HTTP: {error:#}"));
    }
}

/// Reads a body, if there is room for it, within the bounds of size and patience. It keeps its room.
async fn read_body(body: Body, headers: &HeaderMap, shared: &Shared) -> Result<Held, Response> {
    let max = shared.room.body_bytes_max();
    let too_large = || {
        let words = format!("the body is larger than the {max} bytes of http.body_bytes_max: send it in parts");
        refuse(StatusCode::PAYLOAD_TOO_LARGE, words)
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let needed = declared.unwrap_or(max);
    if needed > max {
        return Err(too_large());
    }
    let patience = shared.config.http.patience.0;
    let slow = || refuse(StatusCode::REQUEST_TIMEOUT, "nothing came for too long");
    let place = shared.room.for_body(needed, patience).await.map_err(|Full| no_room())?;
    let mut body = body;
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0));
    loop {
        match tokio::time::timeout(patience, body.frame()).await {
            Err(_) => return Err(slow()),
            Ok(None) => return Ok(place.hold(bytes)),
            Ok(Some(Err(error))) => {
                return Err(refuse(StatusCode::BAD_REQUEST, format!("the body breaks off: {error}")));
            }
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
                if bytes.len() > max {
                    return Err(too_large());
                }
            }
        }
    }
}

/// All memory for bodies is taken.
const NO_ROOM: &str = "too many bodies are being taken: send it again later";

fn no_room() -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, NO_ROOM)
}

fn routes(shared: Arc<Shared>, guarding: Guard) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/healthz", get(status::health))
        .route("/status", get(status::status))
        .route("/report", get(status::report))
        .route("/metrics", get(status::metrics))
        .route("/query", get(query::query))
        .route("/tail", get(query::tail))
        .route("/counts", get(counts::counts))
        .route("/ingest", post(ingest::ingest))
        .route("/write", post(samples::write_v1))
        .route("/api/v2/write", post(samples::write_v2))
        .route("/api/v1/write", post(samples::remote))
        .route("/import", post(samples::import))
        .route("/api/v1/query", get(prometheus::instant).post(prometheus::instant))
        .route("/api/v1/query_range", get(prometheus::range).post(prometheus::range))
        .route("/api/v1/labels", get(prometheus::labels).post(prometheus::labels))
        .route("/api/v1/label/{name}/values", get(prometheus::values))
        .route("/api/v1/series", get(prometheus::series).post(prometheus::series))
        .route("/api/v1/metadata", get(prometheus::metadata))
        .route("/api/v1/parse_query", get(prometheus::format_query))
        .route("/api/v1/status/buildinfo", get(prometheus::build_info))
        .route("/power", get(power::status).post(power::tell))
        .route("/backup", post(backup::backup))
        .layer(axum::middleware::from_fn_with_state(shared.clone(), tell_opening))
        .layer(axum::middleware::from_fn_with_state(guarding, guard::guard))
        .with_state(shared)
}

/// Marks what is answered while the journal is still being read: it may lack what is not read yet. What is sent is refused before
/// anything of it is compared with what is stored: a client's position that is not read yet would let the same body in twice.
async fn tell_opening(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if shared.report.get().is_some() {
        return next.run(request).await;
    }
    let path = request.uri().path();
    let asks = request.method() == Method::GET || path.starts_with("/api/v1/") && path != "/api/v1/write";
    let mut response = if asks {
        next.run(request).await
    } else {
        let again = [(header::RETRY_AFTER, "1")];
        (again, refuse(StatusCode::SERVICE_UNAVAILABLE, duramen_store::Error::Opening.to_string())).into_response()
    };
    response.headers_mut().insert(OPENING_HEADER, HeaderValue::from_static("1"));
    response
}

async fn serve_async(listener: TcpListener, public: Option<Public>, shared: Arc<Shared>) -> anyhow::Result<()> {
    let stop = shared.stop.clone();
    let http = &shared.config.http;
    let limits = Limits { permits: Arc::new(Semaphore::new(http.connections_max.max(1))), patience: http.patience.0 };
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let local = routes(shared.clone(), Guard::Local);
    let local = connections::serve(listener, None, local, limits.clone(), stop.clone());
    let Some(Public { listener, acceptor, token }) = public else {
        local.await;
        return Ok(());
    };
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let routes = routes(shared.clone(), Guard::Token(token));
    tokio::join!(local, connections::serve(listener, Some(acceptor), routes, limits, stop));
    Ok(())
}

/// Ends when the daemon is asked to stop.
async fn stopped(stop: Arc<Stop>) {
    while stop.signal().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A refusal, in words.
fn refuse(status: StatusCode, words: impl Into<String>) -> Response {
    let mut words = words.into();
    words.push('\n');
    (status, words).into_response()
}
