//! One connection.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, StatusCode, header},
};
use hyper::{body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Hosts, Limits, patient::Patient, socket::Stream};

/// What every connection to one socket shares.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) router: Router,
    /// `None`: every name will do, as nobody's browser can be led to a UNIX socket.
    pub(super) hosts: Option<Arc<Hosts>>,
    pub(super) limits: Limits,
}

impl Connection {
    /// Serves requests until the client or a limit ends it.
    pub(super) async fn serve(self, stream: Stream) {
        match stream {
            Stream::Tcp(stream) => {
                // A response is written at once or not at all: nothing to be gained by waiting for more.
                let _ = stream.set_nodelay(true);
                self.speak(stream).await;
            }
            Stream::Unix(stream) => self.speak(stream).await,
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let limits = self.limits;
        let stream = TokioIo::new(Patient::new(stream, limits.write_time));
        let respond = hyper::service::service_fn(|request| self.respond(request));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time)
            .max_headers(limits.headers)
            .max_buf_size(limits.head)
            // A response stays the one buffer that it is, and counts as in memory until it is written.
            .writev(true)
            .serve_connection(stream, respond)
            .await;
        if let Err(error) = served {
            tracing::trace!("an HTTP connection ended: {error}");
        }
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let mut response = match &self.hosts {
            Some(hosts) if !hosts.meant(&request) => {
                let mut response = Response::new(Body::from(
                    "not here: ask for this host's address or localhost, or name the host in `hosts` of memmon.toml\n",
                ));
                *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
                response
            }
            _ => {
                TowerToHyperService::new(self.router.clone())
                    .call(request)
                    .await?
            }
        };
        let headers = response.headers_mut();
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        Ok(response)
    }
}
