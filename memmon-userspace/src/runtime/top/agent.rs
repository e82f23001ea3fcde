//! Follows the running agent: one report at each interval, and its signals.

use std::{pin::pin, time::Duration};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    sync::{mpsc, watch},
    time::{self, MissedTickBehavior},
};

use crate::{
    action::systemd::Bus,
    export::{
        dbus::{Client, ClientError, Heard},
        top::Report,
    },
};

/// So long it is left alone after it was not there.
const AGAIN: Duration = Duration::from_secs(1);

/// What following tells.
pub(super) enum News {
    /// A report.
    Report(Box<Report>),
    /// A signal.
    Heard(Heard),
    /// There is none at the moment, for this reason.
    Lost(String),
}

/// Follows until nobody listens. Asks only while `wanted` is true, and never twice at once.
pub(super) async fn follow(interval: Duration, mut wanted: watch::Receiver<bool>, news: mpsc::Sender<News>) {
    loop {
        let error = match session(interval, &mut wanted, &news).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if news.send(News::Lost(error.to_string())).await.is_err() {
            return;
        }
        time::sleep(interval.max(AGAIN)).await;
    }
}

/// One connection to the bus, until it fails, or (`Ok`) until nobody listens.
async fn session(
    interval: Duration,
    wanted: &mut watch::Receiver<bool>,
    news: &mpsc::Sender<News>,
) -> Result<(), FollowError> {
    let client = Client::connect(&Bus::System).await?;
    let mut signals = pin!(client.signals().await?);
    let mut tick = time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_wanted = *wanted.borrow_and_update();
        let told = tokio::select! {
            heard = signals.next() => News::Heard(heard.ok_or(FollowError::Closed)?),
            changed = wanted.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
            _ = tick.tick(), if is_wanted => match ask(&client, signals.as_mut(), news).await {
                Ok(report) => News::Report(Box::new(report)),
                // The connection is good; whoever comes next answers on it.
                Err(error @ FollowError::Client(ClientError::NoAgent)) => News::Lost(error.to_string()),
                Err(error) => return Err(error),
            },
        };
        if news.send(told).await.is_err() {
            return Ok(());
        }
    }
}

/// Asks for a report; signals do not wait for the answer.
async fn ask(
    client: &Client,
    mut signals: impl Stream<Item = Heard> + Unpin,
    news: &mpsc::Sender<News>,
) -> Result<Report, FollowError> {
    let mut answer = pin!(client.report());
    loop {
        tokio::select! {
            heard = signals.next() => {
                let heard = heard.ok_or(FollowError::Closed)?;
                // Whoever does not listen any more is noticed with the answer.
                let _ = news.send(News::Heard(heard)).await;
            }
            answer = &mut answer => return Ok(Report::parse(&answer?)?),
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the bus has closed the connection")]
    Closed,
    #[error("the agent's report is not what this version of memmon knows: {0}")]
    Report(#[from] serde_json::Error),
}
