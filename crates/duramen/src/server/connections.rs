//! Connections: how many, for how long, with TLS or without. Owns accepting and the end of it; what is asked on them is the
//! routes' business.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::stop::Stop;

/// Requests under way get so long for their answers when the daemon ends.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// The pause after a refused accept: the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// At the same time, over all addresses; more wait.
    pub permits: Arc<Semaphore>,
    /// A client that says nothing for so long is left.
    pub patience: Duration,
}

/// Reads a certificate chain and its key.
///
/// # Errors
/// A file that cannot be read, or that is none; a key that does not fit.
pub fn tls(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let name = certificate.display();
    let chain = CertificateDer::pem_file_iter(certificate).with_context(|| format!("cannot read {name}"))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().with_context(|| format!("{name} is no certificate chain"))?;
    anyhow::ensure!(!chain.is_empty(), "{name} holds no certificate");
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("{} is no private key", key.display()))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).context("certificate and key")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves an address until the daemon stops.
pub async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    routes: Router,
    limits: Limits,
    stop: Arc<Stop>,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let next = async {
            let permit = limits.permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = super::stopped(stop.clone()) => break,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let (watcher, routes, acceptor) = (graceful.watcher(), routes.clone(), acceptor.clone());
        let patience = limits.patience;
        tokio::spawn(async move {
            let _permit = permit;
            match acceptor {
                None => connection(socket, routes, patience, watcher).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(patience, acceptor.accept(socket)).await {
                        connection(stream, routes, patience, watcher).await;
                    }
                }
            }
        });
    }
    let _ = tokio::time::timeout(END_PATIENCE, graceful.shutdown()).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Router,
    patience: Duration,
    watcher: Watcher,
) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // A client that breaks off or talks nonsense is its own affair.
    let _ = watcher.watch(connection).await;
}
