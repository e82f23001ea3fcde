//! Carries out what [`Delivery`] decides, one task per target.

use std::{fmt, sync::Arc, time::Duration};

use axum::http::Uri;
use tokio::sync::watch;

use super::{
    Alert, Board, Delivery, Note, Step,
    document::{self, Context},
    exec::{self, ExecError},
    post::{self, PostError},
};
use crate::{
    policy::MonoTime,
    source::proc::{monotonic_ns, wall_clock_offset_ns},
};

/// How often Alertmanager is reminded of an alarm that is on.
const REMIND: Duration = Duration::from_secs(60);
/// How long an alarm lasts there without being reminded: three reminders may be missed.
const LASTING: Duration = Duration::from_secs(4 * 60);
/// Alarms in one message to a webhook.
const BATCH: usize = 64;

/// Where alarms go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The base address of an Alertmanager.
    Alertmanager(Uri),
    /// Anything that takes `memmon.alerts/1` by POST.
    Webhook(Uri),
    /// A program and its arguments.
    Exec(Vec<String>),
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Post(#[from] PostError),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error("the message cannot be written: {0}")]
    Document(#[from] serde_json::Error),
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alertmanager(uri) => write!(f, "Alertmanager {uri}"),
            Self::Webhook(uri) => write!(f, "webhook {uri}"),
            Self::Exec(program) => write!(f, "program {}", program.first().map_or("?", String::as_str)),
        }
    }
}

impl Sender {
    fn delivery(&self) -> Delivery {
        match self {
            Self::Alertmanager(_) => Delivery::repeating(REMIND),
            Self::Webhook(_) => Delivery::once(BATCH),
            Self::Exec(_) => Delivery::once(1),
        }
    }

    async fn send(&self, context: &Context, alerts: &[Arc<Alert>], now: MonoTime) -> Result<(), SendError> {
        match self {
            Self::Alertmanager(base) => {
                let body = document::alertmanager(context, alerts, now, LASTING)?;
                let uri = alerts_of(base).map_err(PostError::from)?;
                Ok(post::post(&uri, body).await?)
            }
            Self::Webhook(uri) => Ok(post::post(uri, document::message(context, alerts)?).await?),
            Self::Exec(program) => Ok(exec::run(program, &document::message(context, alerts)?).await?),
        }
    }
}

/// The v2 API below an Alertmanager's base address, which may have a path of its own (`--web.route-prefix`).
fn alerts_of(base: &Uri) -> Result<Uri, axum::http::Error> {
    Uri::builder()
        .scheme("http")
        .authority(base.authority().map_or("", |authority| authority.as_str()))
        .path_and_query(format!("{}/api/v2/alerts", base.path().trim_end_matches('/')))
        .build()
}

fn now() -> MonoTime {
    MonoTime(monotonic_ns())
}

/// Tells one target of everything that is on `board`, until the board's owner is gone and everything was told that
/// the target takes at the first try.
pub async fn deliver(target: Sender, host: String, mut board: watch::Receiver<Board>) {
    let mut delivery = target.delivery();
    let mut last = false;
    loop {
        let update = delivery.update(&board.borrow_and_update(), now());
        note(&target, update, "");
        match delivery.next(now()) {
            Step::Send(alerts) => {
                let context = Context {
                    host: host.clone(),
                    clock_offset: wall_clock_offset_ns(),
                };
                let at = now();
                match target.send(&context, &alerts, at).await {
                    Ok(()) => note(&target, delivery.sent(&alerts, at), ""),
                    Err(SendError::Post(error)) if error.is_final() => {
                        tracing::error!("{target} {error}; {} alarms are given up for it", alerts.len());
                        note(&target, delivery.refused(&alerts, at), "");
                    }
                    Err(error) => note(&target, delivery.failed(now()), &error.to_string()),
                }
            }
            Step::Wait(_) if last => return,
            Step::Wait(until) => {
                let pause = until.map_or(Duration::MAX, |time| time.since(now()));
                tokio::select! {
                    changed = board.changed() => last = changed.is_err(),
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

fn note(target: &Sender, note: Option<Note>, why: &str) {
    match note {
        None => {}
        Some(Note::Down) => tracing::warn!("{target} {why}; alarms for it are kept and sent later"),
        Some(Note::Up(failures)) => tracing::info!("{target} takes alarms again, after {failures} tries"),
        Some(Note::TooMany(count)) => {
            tracing::warn!("{target}: {count} alarms are left out, too many are on at once");
        }
    }
}
