//! The HTTP server: `/metrics`, `/healthz`, and whatever router is merged with [`routes`].
//!
//! It is bounded in everything: connections, size of a request, time for a request's headers, time for the
//! response to be taken, responses in memory. It runs on a thread of its own, below the priority of the one that
//! reacts, and gets what it shows from there through [`Feed`].

mod connection;
mod feed;
mod host;
mod patient;
mod routes;
mod socket;

use std::{sync::Arc, time::Duration};

use axum::Router;
use tokio::{sync::Semaphore, task::JoinSet};

pub(in crate::export) use self::host::is_for_loopback;
use self::{
    connection::Connection,
    socket::{Listener, Stream},
};
pub use self::{
    feed::{Ask, Feed},
    host::Hosts,
    routes::routes,
    socket::{Socket, SocketError, open},
};

/// What clients may use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones are turned away at once.
    pub connections: usize,
    /// Bytes of a request's line and headers.
    pub head: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Time to send a request's headers; also how long a connection may be idle.
    pub head_time: Duration,
    /// Time to take what was written.
    pub write_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head: 16 * 1024,
            headers: 64,
            head_time: Duration::from_secs(10),
            write_time: Duration::from_secs(30),
        }
    }
}

/// How long accepting pauses when the process has no descriptor left.
const BREATH: Duration = Duration::from_millis(100);
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Serves `router` on every socket until the task is dropped. Only requests for one of `hosts` get to it.
pub async fn serve(sockets: Vec<Socket>, router: Router, hosts: Hosts, limits: Limits) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let hosts = Arc::new(hosts);
    let mut accepting = JoinSet::new();
    for socket in sockets {
        let name = socket.to_string();
        let listener = match Listener::new(socket) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!("{name} is not served: {error}");
                continue;
            }
        };
        let connection = Connection {
            router: router.clone(),
            hosts: listener.is_tcp().then(|| Arc::clone(&hosts)),
            limits,
        };
        accepting.spawn(accept(name, listener, connection, Arc::clone(&slots)));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(name: String, listener: Listener, connection: Connection, slots: Arc<Semaphore>) {
    // Dropped, and with it ended, when accepting is.
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok(stream) => match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => {
                    let connection = connection.clone();
                    open.spawn(async move {
                        connection.serve(stream).await;
                        drop(slot);
                    });
                }
                Err(_) => turn_away(&stream),
            },
            // The client has gone already.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!("accepting connections on {name}: {error}");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Says so if that takes no waiting.
fn turn_away(stream: &Stream) {
    let _ = match stream {
        Stream::Tcp(stream) => stream.try_write(BUSY),
        Stream::Unix(stream) => stream.try_write(BUSY),
    };
}

#[cfg(test)]
mod tests;
