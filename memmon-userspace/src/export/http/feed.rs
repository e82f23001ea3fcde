//! How the server gets what it shows: one question to the agent at a time, and one answer for all who ask at once.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::body::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::export::metrics::{self, Bounds, Facts, Format};

/// Asks the agent; `None` if it does not answer.
pub type Ask = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Option<Facts>> + Send>> + Send + Sync>;

/// How old an answer may be: many who ask at once cost the agent no more than one.
const FRESH: Duration = Duration::from_millis(250);
/// How long the agent may take; its watchdog's limit is higher.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pages in memory that clients have not taken yet.
const PAGES: usize = 8;

/// The agent, as the server sees it. Cloning it is cheap.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    ask: Ask,
    fresh: Duration,
    latest: Mutex<Latest>,
    pages: Arc<Semaphore>,
}

#[derive(Default)]
struct Latest {
    bounds: Bounds,
    facts: Option<(Instant, Arc<Facts>)>,
    text: Option<Bytes>,
    openmetrics: Option<Bytes>,
}

/// A page that counts as one in memory until it is written or given up.
struct Counted {
    page: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.page
    }
}

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPage {
    /// Too many clients are reading slowly.
    Busy,
    /// The agent does not answer.
    NoAnswer,
}

impl Feed {
    /// A feed that asks by `ask`.
    pub fn new(ask: Ask) -> Self {
        Self::keeping(ask, FRESH)
    }

    /// As [`Self::new`], with answers that are good for `fresh`.
    pub(super) fn keeping(ask: Ask, fresh: Duration) -> Self {
        Self(Arc::new(Inner {
            ask,
            fresh,
            latest: Mutex::default(),
            pages: Arc::new(Semaphore::new(PAGES)),
        }))
    }

    /// What the agent knows now, labels bounded; `None` if it does not answer.
    pub async fn facts(&self) -> Option<Arc<Facts>> {
        self.refreshed(&mut *self.0.latest.lock().await).await
    }

    async fn refreshed(&self, latest: &mut Latest) -> Option<Arc<Facts>> {
        if let Some((at, facts)) = &latest.facts
            && at.elapsed() < self.0.fresh
        {
            return Some(Arc::clone(facts));
        }
        let facts = tokio::time::timeout(PATIENCE, (self.0.ask)()).await.ok()??;
        let facts = Arc::new(latest.bounds.apply(facts));
        latest.facts = Some((Instant::now(), Arc::clone(&facts)));
        (latest.text, latest.openmetrics) = (None, None);
        Some(facts)
    }

    /// The metrics page.
    pub(super) async fn page(&self, format: Format) -> Result<Bytes, NoPage> {
        let permit = Arc::clone(&self.0.pages)
            .try_acquire_owned()
            .map_err(|_| NoPage::Busy)?;
        let mut latest = self.0.latest.lock().await;
        let facts = self.refreshed(&mut latest).await.ok_or(NoPage::NoAnswer)?;
        let kept = match format {
            Format::Text => &mut latest.text,
            Format::OpenMetrics => &mut latest.openmetrics,
        };
        let page = match kept {
            Some(page) => page.clone(),
            None => {
                let page = metrics::render(&facts, format).map_err(|_| NoPage::NoAnswer)?;
                kept.insert(Bytes::from(page)).clone()
            }
        };
        Ok(Bytes::from_owner(Counted {
            page,
            _permit: permit,
        }))
    }
}
