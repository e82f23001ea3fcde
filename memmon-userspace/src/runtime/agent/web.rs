//! What is served on which socket, and where the web page gets what it shows.

use std::path::PathBuf;

use axum::Router;
use tokio::sync::{mpsc, oneshot, watch};

use super::HISTORY;
use crate::{
    config,
    export::{
        alerts::Board,
        dbus::ReportRequest,
        http::{self, Hosts, Limits, Socket},
        web::{self, Archive, Assets, Guard, Live, Token, TokenError, Web},
    },
};

/// What the server has to do.
pub(super) struct Serving {
    pub(super) sockets: Vec<Socket>,
    /// Who may see the page; `None`: there is none.
    pub(super) page: Option<Guard>,
}

/// Who may see the page; `None` if it is off, or nothing is listened on.
pub(super) fn guard(config: &config::Http, sockets: &[Socket]) -> Result<Option<Guard>, TokenError> {
    if !config.page || sockets.is_empty() {
        return Ok(None);
    }
    Ok(Some(match &config.token_file {
        Some(file) => Guard::Token(Token::read(file)?),
        None => Guard::Local,
    }))
}

impl Serving {
    /// Starts serving `routes`, and the page with them. `board` changes when an alarm does.
    pub(super) fn serve(
        self,
        routes: Router,
        hosts: Hosts,
        reports: &mpsc::Sender<ReportRequest>,
        board: watch::Receiver<Board>,
    ) {
        let spawn = |sockets: Vec<Socket>, router, limits| {
            if !sockets.is_empty() {
                tokio::spawn(http::serve(sockets, router, hosts.clone(), limits));
            }
        };
        let page = self.page.and_then(|guard| {
            let archive = Archive::start(PathBuf::from(HISTORY))
                .map_err(|error| tracing::error!("the web page is not served, no thread: {error}"))
                .ok()?;
            Some((guard, archive))
        });
        let Some((guard, archive)) = page else {
            return spawn(self.sockets, routes, Limits::default());
        };
        // The configuration is checked for this; what the service manager listens on it does not know.
        let without = |socket: &Socket| matches!(guard, Guard::Local) && socket.is_reachable_from_elsewhere();
        let (bare, sockets): (Vec<Socket>, _) = self.sockets.into_iter().partition(without);
        for socket in &bare {
            tracing::warn!(
                "the web page is not served on {socket}, which others reach: set token_file in [http]"
            );
        }
        let live = Live::new(glances(reports.clone()));
        tokio::spawn(live.clone().run());
        tokio::spawn(tell_of_alarms(live.clone(), board));
        let page = web::routes(Web {
            assets: Assets::embedded(),
            live,
            archive,
            guard,
        });
        spawn(bare, routes.clone(), Limits::default());
        spawn(sockets, routes.merge(page), web::limits());
    }
}

/// Asks for what can be had without the policy being asked.
fn glances(reports: mpsc::Sender<ReportRequest>) -> web::Ask {
    Box::new(move || {
        let reports = reports.clone();
        Box::pin(async move {
            let (answer, report) = oneshot::channel();
            reports.send(ReportRequest::Glance(answer)).await.ok()?;
            let report = report.await.ok()?;
            report
                .inspect_err(|error| tracing::debug!("the page gets no report: {error}"))
                .ok()
        })
    })
}

/// Alarms are on the page at once.
async fn tell_of_alarms(live: Live, mut board: watch::Receiver<Board>) {
    while board.changed().await.is_ok() {
        drop(board.borrow_and_update());
        live.nudge();
    }
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
