//! The stream of what the agent knows: asked for once, for all who watch.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse as _, Response},
};
use hyper::body::Bytes;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use crate::export::json::{live::LiveDocument, report::ReportDocument};

/// Asks the agent; `None` if it does not answer.
pub type Ask =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Option<Arc<ReportDocument>>> + Send>> + Send + Sync>;

/// Viewers at once; further ones are turned away. Each takes one of the server's connections.
pub const VIEWERS: usize = 32;
/// Between two questions to the agent.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// Between two questions when something has happened meanwhile.
const SOON: Duration = Duration::from_millis(200);
/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon the browser tries again, in milliseconds, after it has lost the stream.
const PREAMBLE: &[u8] = b"retry: 1000\n\n";
const SILENT: &[u8] = b"event: silent\ndata: {}\n\n";

/// What viewers are shown. Cloning it is cheap.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    ask: Ask,
    viewers: usize,
    seats: Arc<Semaphore>,
    arrived: Notify,
    happened: Notify,
    /// The latest event, as it is sent; `None` before the first one.
    latest: watch::Sender<Option<Bytes>>,
}

impl Live {
    /// Asks by `ask`, as soon as [`Self::run`] runs and somebody watches.
    pub fn new(ask: Ask) -> Self {
        Self::for_viewers(ask, VIEWERS)
    }

    /// As [`Self::new`], for not more than `viewers`.
    pub(super) fn for_viewers(ask: Ask, viewers: usize) -> Self {
        Self(Arc::new(Inner {
            ask,
            viewers,
            seats: Arc::new(Semaphore::new(viewers)),
            arrived: Notify::new(),
            happened: Notify::new(),
            latest: watch::Sender::new(None),
        }))
    }

    /// Something happened that viewers should see at once.
    pub fn nudge(&self) {
        self.0.happened.notify_one();
    }

    /// Asks and tells, for ever.
    pub async fn run(self) {
        let inner = &*self.0;
        loop {
            if inner.seats.available_permits() == inner.viewers {
                // What is old by the time that somebody comes is not shown as news.
                inner.latest.send_replace(None);
                inner.arrived.notified().await;
            }
            let began = Instant::now();
            let answer = tokio::time::timeout(PATIENCE, (inner.ask)()).await;
            let event = answer.ok().flatten().as_deref().and_then(event);
            inner
                .latest
                .send_replace(Some(event.unwrap_or(Bytes::from_static(SILENT))));
            tokio::time::sleep_until(began + SOON).await;
            tokio::select! {
                () = tokio::time::sleep_until(began + INTERVAL) => {}
                () = inner.happened.notified() => {}
            }
        }
    }

    /// A response that goes on until the viewer leaves; `None` if all places are taken.
    pub(super) fn stream(&self) -> Option<Response> {
        let seat = Arc::clone(&self.0.seats).try_acquire_owned().ok()?;
        self.0.arrived.notify_one();
        let mut latest = self.0.latest.subscribe();
        // What is there already is news to this viewer.
        latest.mark_changed();
        let viewer = Viewer {
            latest,
            greeted: false,
            _seat: seat,
        };
        let events = futures_util::stream::unfold(viewer, Viewer::next);
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-store"),
            // Where a proxy of nginx's stands between.
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        Some((headers, Body::from_stream(events)).into_response())
    }
}

fn event(report: &ReportDocument) -> Option<Bytes> {
    let data = serde_json::to_string(&LiveDocument::new(report, SystemTime::now())).ok()?;
    Some(Bytes::from(format!("event: live\ndata: {data}\n\n")))
}

/// One who watches. It is asked for the next event when the last one has been taken: what came between is skipped.
struct Viewer {
    latest: watch::Receiver<Option<Bytes>>,
    greeted: bool,
    _seat: OwnedSemaphorePermit,
}

impl Viewer {
    async fn next(mut self) -> Option<(Result<Bytes, std::convert::Infallible>, Self)> {
        if !self.greeted {
            self.greeted = true;
            return Some((Ok(Bytes::from_static(PREAMBLE)), self));
        }
        loop {
            self.latest.changed().await.ok()?;
            let event = self.latest.borrow_and_update().clone();
            if let Some(event) = event {
                return Some((Ok(event), self));
            }
        }
    }
}
