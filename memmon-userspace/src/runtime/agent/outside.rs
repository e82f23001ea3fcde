//! The thread that deals with everybody but the kernel and systemd: D-Bus clients, reports, tags.
//!
//! It has a runtime of its own and gives way to the loop where CPUs are short: no client can take time from the
//! reaction to a page. The loop hears from it by bounded channels and looks at them last.

use std::{io, sync::Arc, thread};

use tokio::sync::mpsc;

use super::{
    CHANNEL,
    reporter::Reporter,
    tags::{self, TagsHandle},
    view::Ask,
};
use crate::{
    action::systemd::Bus,
    export::dbus::{self, Doors, Order, Signal},
    runtime::observer::Observer,
    source::cgroup_tree::CgroupTree,
};

/// Signals that may wait for the bus. An alarm and its limit are two; a thousand units at once are not more than
/// this in the time that the bus takes for them.
const SIGNALS: usize = 4096;
/// How much the thread gives way.
const NICE: i32 = 5;

/// The loop's end of the channels.
pub(super) struct Outside {
    pub(super) signals: mpsc::Sender<Signal>,
    orders: mpsc::Receiver<Order>,
    asks: mpsc::Receiver<Ask>,
}

/// Something that the loop has to do for somebody outside.
pub(super) enum Heard {
    Order(Order),
    Ask(Ask),
}

impl Outside {
    /// Starts the thread; it ends with the value.
    pub(super) fn open(bus: Bus, observer: &Observer, tree: CgroupTree) -> io::Result<Self> {
        let (signals, to_send) = mpsc::channel(SIGNALS);
        let (to_loop, orders) = mpsc::channel(CHANNEL);
        let (to_show, asks) = mpsc::channel(1);
        let counters = Arc::clone(observer.probes.counters());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new().name("outside".to_owned()).spawn(move || {
            give_way();
            runtime.block_on(async move {
                let (tags, tag_requests) = TagsHandle::new(CHANNEL);
                let (reports, report_requests) = mpsc::channel(CHANNEL);
                let doors = Doors {
                    tags: tags.requests.clone(),
                    reports,
                    orders: to_loop,
                };
                tokio::spawn(tags::own(tag_requests, tree.clone()));
                let reporter = Reporter::new(tree, counters, to_show, tags);
                tokio::spawn(reporter.run(report_requests));
                dbus::serve(bus, doors, to_send).await;
            });
        })?;
        Ok(Self {
            signals,
            orders,
            asks,
        })
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

fn give_way() {
    // On Linux niceness is a thread's own (setpriority(2), BUGS).
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!("the thread for D-Bus has the priority of the reaction: {error}");
    }
}
