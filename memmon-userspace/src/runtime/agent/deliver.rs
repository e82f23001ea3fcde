//! Who is told of alarms besides the journal and D-Bus.

use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, watch};

use super::{Agent, now};
use crate::{
    config::Config,
    export::alerts::{self, Alert, Board, Sender},
};

/// Where the alarms that are on are kept, beside the leases.
const KEPT: &str = "/run/memmon/alarms.json";

/// The targets that the configuration names.
pub(super) fn targets(config: &Config) -> Vec<Sender> {
    let alerts = &config.alerts;
    let managers = alerts
        .alertmanager
        .iter()
        .map(|url| Sender::Alertmanager(url.uri().clone()));
    let hooks = alerts
        .webhook
        .iter()
        .map(|url| Sender::Webhook(url.uri().clone()));
    let program = (!alerts.exec.is_empty()).then(|| Sender::Exec(alerts.exec.clone()));
    managers.chain(hooks).chain(program).collect()
}

/// What is to be told at the start: that the alarms which a killed agent has left on are over.
pub(super) fn board() -> Board {
    let left_on = alerts::left_on(Path::new(KEPT)).unwrap_or_else(|error| {
        tracing::warn!("{error}");
        Vec::new()
    });
    Board::after(left_on, now())
}

/// Keeps the alarms that are on on record; `delivering` is closed when that is done for ever.
pub(super) async fn keep(board: watch::Receiver<Board>, delivering: mpsc::Sender<()>) {
    alerts::keep(PathBuf::from(KEPT), board).await;
    drop(delivering);
}

/// Tells one of them; `delivering` is closed when that is done for ever.
pub(super) async fn to(target: Sender, board: watch::Receiver<Board>, delivering: mpsc::Sender<()>) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    alerts::deliver(target, host, board).await;
    drop(delivering);
}

impl Agent {
    /// Has an alarm delivered.
    pub(super) fn deliver_alarm(&self, alert: Alert) {
        self.outside.change_board(|board| board.raise(alert));
    }

    /// Has its end delivered.
    pub(super) fn deliver_end(&self, id: &str, pages: u64) {
        self.outside.change_board(|board| board.clear(id, pages, now()));
    }
}
