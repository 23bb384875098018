//! gRPC over a unix socket, as far as asking a container runtime needs it: one message there, one back.
//!
//! HTTP/2 is h2's, the messages are prost's; tonic with its channels and layers would be three times as much.

use std::path::Path;
use std::time::Duration;

use h2::client::SendRequest;
use hyper::body::Bytes;
use prost::Message;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;

/// A healthy runtime answers in milliseconds; after 2 s it is taken for hung.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most that is read of an answer.
const LIMIT: usize = 4 << 20;

/// The code that says that there is no such service or method.
pub const UNIMPLEMENTED: u32 = 12;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// gRPC's code, where the other side answered at all.
    pub code: Option<u32>,
    /// What it said, or what is in the way.
    pub message: String,
}

impl Refusal {
    fn silent(why: impl std::fmt::Display) -> Self {
        Self { code: None, message: why.to_string() }
    }

    /// Whether the other side lives and does not know what was called.
    pub fn is_unimplemented(&self) -> bool {
        self.code == Some(UNIMPLEMENTED)
    }
}

/// A connection; it ends when it is dropped.
#[derive(Debug)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Whoever hangs on the other side would hold it open.
        self.driver.abort();
    }
}

impl Connection {
    /// Connects to the unix socket `socket`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn open(socket: &Path) -> Result<Self, Refusal> {
        within(async {
            let stream = UnixStream::connect(socket)
                .await
                .map_err(|e| Refusal::silent(format!("cannot connect to `{}`: {e}", socket.display())))?;
            let (requests, connection) = h2::client::handshake(stream).await.map_err(Refusal::silent)?;
            let driver = tokio::spawn(async move {
                // What breaks it is told to those who wait for an answer.
                let _ = connection.await;
            });
            Ok(Self { requests, driver: driver.abort_handle() })
        })
        .await
    }

    /// Calls `method`, such as `/package.Service/Method`.
    ///
    /// # Errors
    /// It is refused, or there is no answer in time.
    pub async fn call<A: Message + Default>(
        &self,
        method: &str,
        question: &impl Message,
    ) -> Result<A, Refusal> {
        within(self.exchange(method, framed(question))).await
    }

    async fn exchange<A: Message + Default>(&self, method: &str, question: Bytes) -> Result<A, Refusal> {
        let request = http::Request::post(format!("http://localhost{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(Refusal::silent)?;
        let mut requests = self.requests.clone().ready().await.map_err(Refusal::silent)?;
        let (answer, mut out) = requests.send_request(request, false).map_err(Refusal::silent)?;
        out.send_data(question, true).map_err(Refusal::silent)?;
        let (head, mut body) = answer.await.map_err(Refusal::silent)?.into_parts();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(Refusal::silent)?;
            body.flow_control().release_capacity(chunk.len()).map_err(Refusal::silent)?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LIMIT {
                return Err(Refusal::silent("the answer does not end"));
            }
        }
        let trailers = body.trailers().await.map_err(Refusal::silent)?;
        // A refusal comes without a body, and its status then with the first headers.
        let field = |name: &str| {
            let value = trailers.as_ref().and_then(|fields| fields.get(name)).or(head.headers.get(name));
            value.and_then(|value| value.to_str().ok())
        };
        match field("grpc-status").map(str::parse) {
            Some(Ok(0)) => message(&bytes),
            Some(Ok(code)) => Err(Refusal {
                code: Some(code),
                message: field("grpc-message").unwrap_or("no reason is given").to_owned(),
            }),
            _ => Err(Refusal::silent(format!("HTTP {} without a gRPC status", head.status))),
        }
    }
}

/// A message as it goes over the wire: uncompressed, its length before it.
fn framed(question: &impl Message) -> Bytes {
    let body = question.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(body);
    bytes.into()
}

fn message<A: Message + Default>(bytes: &[u8]) -> Result<A, Refusal> {
    let (compressed, rest) = bytes.split_first().ok_or_else(|| Refusal::silent("an empty answer"))?;
    let (length, body) =
        rest.split_first_chunk::<4>().ok_or_else(|| Refusal::silent("an answer that is cut short"))?;
    if *compressed != 0 || u32::from_be_bytes(*length) as usize != body.len() {
        return Err(Refusal::silent("an answer that is not one message"));
    }
    A::decode(body).map_err(Refusal::silent)
}

async fn within<T>(work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(Refusal::silent(format!("no answer within {PATIENCE:?}"))))
}
