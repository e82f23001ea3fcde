//! The thread that deals with everybody but the kernel and systemd: D-Bus clients, reports, tags, metrics, alerts.
//!
//! It has a runtime of its own and gives way to the loop where CPUs are short: no client can take time from the
//! reaction to a page. The loop hears from it by bounded channels and looks at them last.

use std::{
    io,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{
    CHANNEL, deliver, now,
    reporter::Reporter,
    scrape::Scraper,
    sums::Counts,
    tags::{self, TagsNews},
    view::{Answer, Ask},
    web::Serving,
};
use crate::{
    action::systemd::Bus,
    config::Config,
    export::{
        alerts::Board,
        dbus::{self, Doors, Order, Signal},
        http::{self, Hosts},
    },
    kernel::programs::Programs,
    runtime::observer::Observer,
    source::{cgroup_tree::CgroupTree, probes::Counters},
};

/// Signals that may wait for the bus. An alarm and its limit are two; a thousand units at once are not more than
/// this in the time that the bus takes for them.
const SIGNALS: usize = 4096;
/// How long the end of the agent waits for those who are told of alarms.
const LEAVE: Duration = Duration::from_secs(3);
/// How much the thread gives way.
const NICE: i32 = 5;

/// The loop's end of the channels.
pub(super) struct Outside {
    pub(super) signals: mpsc::Sender<Signal>,
    /// What is delivered to those who are told of alarms.
    board: watch::Sender<Board>,
    /// Closed when everybody was told that takes it.
    delivered: mpsc::Receiver<()>,
    orders: mpsc::Receiver<Order>,
    asks: mpsc::Receiver<Ask>,
    /// Asks for a reading of the counters.
    readings: mpsc::Sender<()>,
}

/// Something that the loop has to do for somebody outside.
pub(super) enum Heard {
    Order(Order),
    Ask(Ask),
}

impl Outside {
    /// Starts the thread; it ends with the value.
    pub(super) fn open(
        bus: Bus,
        observer: &Observer,
        tree: CgroupTree,
        config: &Config,
        serving: Serving,
    ) -> io::Result<(Self, TagsNews)> {
        let (board, to_deliver) = watch::channel(deliver::board());
        let (delivering, delivered) = mpsc::channel(1);
        let targets = deliver::targets(config);
        let hosts = Hosts::new(config.http.hosts.iter().cloned());
        let programs = Arc::new(observer.probes.programs());
        let (signals, to_send) = mpsc::channel(SIGNALS);
        let (to_loop, orders) = mpsc::channel(CHANNEL);
        let (to_show, asks) = mpsc::channel(1);
        let (readings, to_read) = mpsc::channel(1);
        let (tags, tag_requests, news) = tags::channels(CHANNEL);
        let counters = Arc::clone(observer.probes.counters());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new().name("outside".to_owned()).spawn(move || {
            give_way();
            runtime.block_on(async move {
                let (reports, report_requests) = mpsc::channel(CHANNEL);
                let doors = Doors {
                    tags: tags.requests.clone(),
                    reports,
                    orders: to_loop,
                };
                tokio::spawn(tags::own(tag_requests, tree.clone()));
                let scraper = Scraper {
                    tree: tree.clone(),
                    counters: Arc::clone(&counters),
                    programs: Arc::clone(&programs),
                    asks: to_show.clone(),
                    tags: tags.clone(),
                    regions: Mutex::default(),
                };
                let routes = http::routes(scraper.feed());
                serving.serve(routes, hosts, &doors.reports, to_deliver.clone());
                tokio::spawn(deliver::keep(to_deliver.clone(), delivering.clone()));
                for target in targets {
                    tokio::spawn(deliver::to(target, to_deliver.clone(), delivering.clone()));
                }
                drop((to_deliver, delivering));
                tokio::spawn(read(
                    to_read,
                    Arc::clone(&counters),
                    Arc::clone(&programs),
                    to_show.clone(),
                ));
                let reporter = Reporter::new(tree, counters, programs, to_show, tags);
                tokio::spawn(reporter.run(report_requests));
                dbus::serve(bus, doors, to_send).await;
            });
        })?;
        let ends = Self {
            signals,
            board,
            delivered,
            orders,
            asks,
            readings,
        };
        Ok((ends, news))
    }

    /// Has the counters read from now on; the reading is heard as an [`Ask`] of nobody.
    pub(super) fn want_counts(&self) {
        // One that is waiting to be made is as good.
        let _ = self.readings.try_send(());
    }

    /// Changes what is delivered.
    pub(super) fn change_board(&self, change: impl FnOnce(&mut Board)) {
        self.board.send_modify(change);
    }

    /// The agent ends: what it has told is over, as nobody will say so later. Waits a moment for targets that answer.
    pub(super) async fn take_leave(mut self) {
        self.board.send_modify(|board| board.clear_all(now()));
        drop(self.board);
        if tokio::time::timeout(LEAVE, self.delivered.recv()).await.is_err() {
            tracing::warn!("the agent ends before everybody was told that its alarms are over");
        }
    }

    /// Waits for the next request; `None` if the thread has ended, which it does not before the loop.
    pub(super) async fn hear(&mut self) -> Option<Heard> {
        tokio::select! {
            biased;
            order = self.orders.recv() => order.map(Heard::Order),
            ask = self.asks.recv() => ask.map(Heard::Ask),
        }
    }
}

/// Reads the counters when the loop wants to know them.
async fn read(
    mut wanted: mpsc::Receiver<()>,
    counters: Arc<Counters>,
    programs: Arc<Programs>,
    loop_: mpsc::Sender<Ask>,
) {
    while wanted.recv().await.is_some() {
        let ask = Ask {
            counts: Counts::read(&counters, &programs),
            answer: Answer::Nobody,
        };
        if loop_.send(ask).await.is_err() {
            return;
        }
    }
}

fn give_way() {
    // On Linux niceness is a thread's own (setpriority(2), BUGS).
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!("the thread for D-Bus has the priority of the reaction: {error}");
    }
}
