//! Stored history and forecasts, read on a thread of their own: the database may be slow, and nobody waits for it
//! but who asked.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::http::StatusCode;
use hyper::body::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::params::{Problem, Range};
use crate::{
    decode::MemInfo,
    export::json::{
        forecast::{ForecastDocument, ForecastField},
        past::{MOMENTS, PastAlarm, PastDocument},
    },
    record::{EventKind, HOST, History, StoreError, WINDOW},
    source::proc::Proc,
};

/// Questions that may wait; further ones are turned away.
const WAITING: usize = 8;
/// Alarms in one answer, the latest.
const ALARMS: u32 = 500;
/// How long all forecasts together are good: samples are a minute apart.
const FRESH: Duration = Duration::from_secs(30);

/// The way to the thread; it ends with the last of them. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Archive(mpsc::Sender<Request>);

type Answer = Result<Bytes, Problem>;

#[derive(Debug)]
struct Request {
    what: What,
    answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
enum What {
    Past(Range),
    Forecast,
}

impl Archive {
    /// Starts the thread, which reads the database at `path`.
    ///
    /// # Errors
    /// If there can be no further thread.
    pub fn start(path: PathBuf) -> std::io::Result<Self> {
        let (requests, to_answer) = mpsc::channel(WAITING);
        thread::Builder::new()
            .name("archive".to_owned())
            .spawn(move || answer_all(path, to_answer))?;
        Ok(Self(requests))
    }

    /// `memmon.past/1`.
    pub(super) async fn history(&self, range: Range) -> Answer {
        self.ask(What::Past(range)).await
    }

    /// `memmon.forecast/1`.
    pub(super) async fn forecast(&self) -> Answer {
        self.ask(What::Forecast).await
    }

    async fn ask(&self, what: What) -> Answer {
        let busy = || {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many ask for history at once",
                "try again later",
            )
        };
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Request { what, answer }).map_err(|_| busy())?;
        answered.await.map_err(|_| busy())?
    }
}

fn answer_all(path: PathBuf, mut requests: mpsc::Receiver<Request>) {
    let mut forecasts: Option<(Instant, Bytes)> = None;
    while let Some(Request { what, answer }) = requests.blocking_recv() {
        // Who has gone need not be answered.
        if answer.is_closed() {
            continue;
        }
        let answered = match what {
            What::Past(range) => open(&path).and_then(|history| past(&history, range)),
            What::Forecast => match &forecasts {
                Some((at, document)) if at.elapsed() < FRESH => Ok(document.clone()),
                _ => open(&path).and_then(|history| all_forecasts(&history)),
            }
            .inspect(|document| {
                if forecasts.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH) {
                    forecasts = Some((Instant::now(), document.clone()));
                }
            }),
        };
        drop(answer.send(answered));
    }
}

/// Anew for each question: a connection that stays open keeps megabytes, and there may be no database yet.
fn open(path: &std::path::Path) -> Result<History, Problem> {
    History::open(path).map_err(|error| {
        tracing::debug!("the page asks for history: {error}");
        Problem::new(
            StatusCode::NOT_FOUND,
            "no history is stored",
            "set `enabled = true` in [history] of memmon.toml; the first sample comes a minute after the agent's start",
        )
    })
}

fn past(history: &History, range: Range) -> Answer {
    let (from, to) = (range.from, range.to);
    let rows = i64::try_from(MOMENTS).unwrap_or(i64::MAX);
    let series = history.series(&range.unit, from, to, rows).map_err(unreadable)?;
    let forecast = history
        .memory_forecast(&range.unit, now() - WINDOW, now() + 1)
        .map_err(unreadable)?;
    let unit = (range.unit != HOST).then_some(range.unit.as_str());
    let mut alarms = Vec::new();
    for kind in [EventKind::Alarm, EventKind::Cleared] {
        let events = history.events(from, to, unit, Some(kind.as_str()), ALARMS);
        alarms.extend(events.map_err(unreadable)?.into_iter().map(PastAlarm::from));
    }
    alarms.sort_by_key(|alarm| alarm.at);
    let forecast = forecast.as_ref().map(ForecastField::from);
    written(&PastDocument {
        alarms,
        forecast,
        ..PastDocument::new(range.unit, (from, to), &series)
    })
}

fn all_forecasts(history: &History) -> Answer {
    let memory = Proc::default()
        .meminfo()
        .ok()
        .and_then(|text| MemInfo::parse(&text).ok());
    let to = now() + 1;
    let from = to - WINDOW;
    let swap = memory.map(|memory| memory.swap_total);
    let made = history.forecasts(from, to, None, swap).map_err(unreadable)?;
    written(&ForecastDocument {
        schema: "memmon.forecast/1",
        window_seconds: WINDOW.unsigned_abs(),
        forecasts: made.iter().map(ForecastField::from).collect(),
    })
}

fn written(document: &impl Serialize) -> Answer {
    serde_json::to_vec(document).map(Bytes::from).map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
            "report this",
        )
    })
}

fn unreadable(error: StoreError) -> Problem {
    tracing::warn!("the page asks for history: {error}");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the stored history cannot be read",
        "see the agent's journal",
    )
}

/// Wall time, seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0))
}
