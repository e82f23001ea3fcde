//! One HTTP request, with a limit on everything.

use std::{io, time::Duration};

use axum::http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// From looking up the name to the end of the answer.
const TIME: Duration = Duration::from_secs(10);
/// How much of an answer is read: it is only repeated in an error.
const ANSWER: usize = 16 * 1024;
/// How much of it is repeated.
const REPEATED: usize = 200;

/// Why a target has not taken something.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// It cannot be reached.
    #[error("cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
    /// It does not speak HTTP.
    #[error("does not answer as it should: {0}")]
    Protocol(#[from] hyper::Error),
    /// It took too long.
    #[error("has not answered within {} s", TIME.as_secs())]
    Slow,
    /// It said no.
    #[error("answered {status}: {said}")]
    Status {
        /// What it said.
        status: u16,
        /// The beginning of its answer.
        said: String,
    },
    /// The request could not be made.
    #[error("cannot be asked: {0}")]
    Request(#[from] axum::http::Error),
}

impl PostError {
    /// Trying again would be answered alike.
    pub(super) const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Status {
                status: 400 | 413 | 422,
                ..
            }
        )
    }
}

/// Posts a JSON document; anything but a 2xx is an error.
pub(super) async fn post(target: &Uri, body: Vec<u8>) -> Result<(), PostError> {
    tokio::time::timeout(TIME, exchange(target, body))
        .await
        .unwrap_or(Err(PostError::Slow))
}

async fn exchange(target: &Uri, body: Vec<u8>) -> Result<(), PostError> {
    let host = target.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((address, target.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = target.path_and_query().map_or("/", |path| path.as_str());
    let authority = target.authority().map_or(host, |authority| authority.as_str());
    let request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("memmon/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let said = Limited::new(response.into_body(), ANSWER).collect().await;
        let said = said.map(|body| body.to_bytes()).unwrap_or_default();
        let said: String = String::from_utf8_lossy(&said).chars().take(REPEATED).collect();
        Err(PostError::Status {
            status: status.as_u16(),
            said: said.trim().escape_debug().to_string(),
        })
    };
    // The connection is driven by its own future: whichever of the two ends first decides.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        ended = connection => ended?,
    }
    answer.await
}
