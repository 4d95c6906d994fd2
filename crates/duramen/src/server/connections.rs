//! Connections: how many, for how long, with TLS or without. Owns accepting and the end of it; what is asked on them is the
//! routes' business.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Sleep;
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
    /// A client that says or takes nothing for so long is left.
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
    let stream = Patient { stream, patience, waiting: None };
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // A client that breaks off or talks nonsense is its own affair.
    let _ = watcher.watch(connection).await;
}

/// A connection that ends when its client takes nothing for too long: its answer holds memory, and others may wait for that.
struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Runs while the client takes nothing.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Passes on what came of writing, or gives up.
    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        waiting.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let written = Pin::new(&mut own.stream).poll_write(context, bytes);
        own.judge(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let written = Pin::new(&mut own.stream).poll_write_vectored(context, parts);
        own.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        let flushed = Pin::new(&mut own.stream).poll_flush(context);
        own.judge(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        let ended = Pin::new(&mut own.stream).poll_shutdown(context);
        own.judge(context, ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Answers once waited for ever for clients that took nothing of them.
    #[test]
    fn a_client_that_takes_nothing_is_left_and_a_slow_one_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let patience = Duration::from_millis(200);
            let (stream, mut client) = tokio::io::duplex(4);
            let mut patient = Patient { stream, patience, waiting: None };
            let answer = async { patient.write_all(&[7; 40]).await };
            let slow = async {
                let mut taken = [0; 4];
                for _ in 0..10 {
                    tokio::time::sleep(patience / 8).await;
                    client.read_exact(&mut taken).await.unwrap();
                }
            };
            let (written, ()) = tokio::join!(answer, slow);
            written.unwrap();
            let left = patient.write_all(&[7; 40]).await.unwrap_err();
            assert_eq!(left.kind(), io::ErrorKind::TimedOut);
        });
    }
}
