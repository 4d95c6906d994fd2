//! The daemon's HTTP side. Owns the address, the routes and the bounds on what a client may cost; what is asked is answered by
//! [`query`], what is sent is taken by [`ingest`].

mod backup;
mod ingest;
mod query;
pub mod status;

use std::future::IntoFuture as _;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::daemon::Shared;
use crate::stop::Stop;

/// Bytes of one request's body at most.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Takes an address.
///
/// # Errors
/// It is none, is not this machine's own loopback, or is taken.
pub fn bind(address: &str) -> anyhow::Result<TcpListener> {
    let mut found = address.to_socket_addrs().with_context(|| format!("{address} is no ADDRESS:PORT"))?;
    let found: SocketAddr = found.next().with_context(|| format!("{address} has no address"))?;
    anyhow::ensure!(
        found.ip().is_loopback(),
        "{address} can be reached from other machines: that needs TLS and a token; use 127.0.0.1"
    );
    let listener = TcpListener::bind(found)
        .with_context(|| format!("cannot listen on {found}; name another address with --listen"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the daemon stops.
pub fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(16).build();
    let served = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(serve_async(listener, shared.clone()));
        // Answers that nobody reads must not keep the daemon.
        runtime.shutdown_timeout(Duration::from_secs(2));
        result
    });
    if let Err(error) = served {
        shared.fail(&format!("HTTP: {error:#}"));
    }
}

async fn serve_async(listener: TcpListener, shared: Arc<Shared>) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let stop = shared.stop.clone();
    let routes = Router::new()
        .route("/healthz", get(status::health))
        .route("/status", get(status::status))
        .route("/report", get(status::report))
        .route("/metrics", get(status::metrics))
        .route("/query", get(query::query))
        .route("/tail", get(query::tail))
        .route("/ingest", post(ingest::ingest))
        .route("/backup", post(backup::backup))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared);
    let served = axum::serve(listener, routes).with_graceful_shutdown(stopped(stop.clone()));
    // Requests under way get their answers, but none keeps the daemon for long.
    let late = async {
        stopped(stop).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    tokio::select! {
        served = served.into_future() => served?,
        () = late => {}
    }
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
