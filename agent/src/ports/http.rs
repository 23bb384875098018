//! Plain HTTP over a unix socket or loopback: docker's API, the health endpoints of kubelet and kube-proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

/// A healthy endpoint on this machine answers in milliseconds; after 2 s it is taken for hung.
const PATIENCE: Duration = Duration::from_secs(2);

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, at most 4 MiB.
    pub body: Vec<u8>,
}

/// GET `path` over the unix socket `socket`.
///
/// # Errors
/// What is in the way, as text.
pub async fn get_unix(socket: &Path, path: &str) -> Result<Answer, String> {
    within(async {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|e| format!("cannot connect to `{}`: {e}", socket.display()))?;
        get(stream, path).await
    })
    .await
}

/// GET `path` from `address`.
///
/// # Errors
/// What is in the way, as text.
pub async fn get_tcp(address: SocketAddr, path: &str) -> Result<Answer, String> {
    within(async {
        let stream =
            TcpStream::connect(address).await.map_err(|e| format!("cannot connect to {address}: {e}"))?;
        get(stream, path).await
    })
    .await
}

/// Whether something accepts a connection at `address`.
pub async fn accepts(address: SocketAddr) -> bool {
    tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await.is_ok_and(|stream| stream.is_ok())
}

/// What comes of `work`, if it comes in time.
pub(super) async fn within<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
}

async fn get<S>(stream: S, path: &str) -> Result<Answer, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let request = http::Request::get(path)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    exchange(stream, request).await
}

/// Sends one request and reads its answer, whatever that is: nothing is followed.
pub(super) async fn exchange<S>(stream: S, request: http::Request<Empty<Bytes>>) -> Result<Answer, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), 4 << 20).collect().await.map_err(|e| e.to_string())?;
        Ok(Answer { status, body: body.to_bytes().to_vec() })
    };
    tokio::pin!(exchange);
    // The connection must be driven while the answer is awaited. A server that closes it after its answer ends it before
    // that is read to its end.
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => exchange.await.map_err(|why| ended.err().map_or(why, |error| error.to_string())),
    }
}
