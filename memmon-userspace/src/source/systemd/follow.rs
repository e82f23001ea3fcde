//! Keeps a connection to systemd and turns its signals into events.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc::Sender;
use zbus::Connection;
use zbus::connection::Builder;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::proxy::CacheProperties;
use zbus_systemd::systemd1::ManagerProxy;

use super::query::{self, interface_of};
use super::{SystemdEvent, SystemdOptions, UnitInfo};

const SYSTEMD: &str = "org.freedesktop.systemd1";
/// Pauses between attempts to connect: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// How long an answer may take. PID 1 can be stuck in reclaim itself.
const ANSWER: Duration = Duration::from_secs(25);
/// Units that may wait to be asked about; beyond, asking about all is cheaper.
const MAX_WAITING: usize = 1024;

/// Follows systemd for ever.
pub(super) async fn follow(options: &SystemdOptions, events: &Sender<SystemdEvent>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let mut session = Session {
            host: &options.host,
            events,
            said_anything: false,
        };
        let Err(error) = session.run(options.address.as_deref()).await;
        if session.said_anything {
            pause = FIRST_PAUSE;
        }
        let reason = format!("systemd cannot be reached over D-Bus: {error}; trying again in {pause:?}");
        session.emit(SystemdEvent::Lost(reason)).await;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// One connection to the bus.
struct Session<'a> {
    host: &'a Path,
    events: &'a Sender<SystemdEvent>,
    /// Whether there has been a snapshot.
    said_anything: bool,
}

/// An answer that was waited for.
enum Answer {
    All(String, Vec<UnitInfo>),
    One(String, Option<UnitInfo>),
}

type Question<'a> = Pin<Box<dyn Future<Output = zbus::Result<Answer>> + Send + 'a>>;

/// What is still to be asked. Signals only mark units; the answer tells what became of them. So neither the order of
/// signals nor their number matters.
#[derive(Default)]
struct Waiting {
    all: bool,
    units: VecDeque<String>,
    known: HashSet<String>,
}

impl Waiting {
    fn mark(&mut self, unit: String) {
        if self.units.len() >= MAX_WAITING {
            self.mark_all();
        }
        // Asking about all of them comes first, and then about those that changed since.
        if interface_of(&unit).is_some() && self.known.insert(unit.clone()) {
            self.units.push_back(unit);
        }
    }

    fn mark_all(&mut self) {
        *self = Self {
            all: true,
            ..Self::default()
        };
    }

    fn next<'a>(&mut self, manager: &'a ManagerProxy<'_>, host: &'a Path) -> Option<Question<'a>> {
        if std::mem::take(&mut self.all) {
            return Some(Box::pin(async move {
                // First, so that what changes while the answers come is told.
                subscribe(manager).await?;
                let version = manager.version().await?;
                Ok(Answer::All(version, query::all(manager, host).await?))
            }));
        }
        let unit = self.units.pop_front()?;
        self.known.remove(&unit);
        Some(Box::pin(async move {
            let info = query::by_name(manager, &unit, host).await?;
            Ok(Answer::One(unit, info))
        }))
    }
}

impl Session<'_> {
    /// Connects and follows until something fails.
    async fn run(&mut self, address: Option<&str>) -> zbus::Result<Infallible> {
        let builder = match address {
            Some(address) => Builder::address(address),
            None => Builder::system(),
        };
        let connection = builder.method_timeout(ANSWER).build().await?;
        let result = self.follow(&connection).await;
        // Tells the bus now, not when the last proxy is dropped.
        connection.close().await.ok();
        result
    }

    async fn follow(&mut self, connection: &Connection) -> zbus::Result<Infallible> {
        let bus = DBusProxy::new(connection).await?;
        let manager = ManagerProxy::builder(connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let mut owners = bus.receive_name_owner_changed_with_args(&[(0, SYSTEMD)]).await?;
        let mut added = manager.receive_unit_new().await?;
        let mut removed = manager.receive_unit_removed().await?;
        let mut reloading = manager.receive_reloading().await?;

        let mut waiting = Waiting::default();
        let mut asked: Option<Question<'_>> = None;
        let mut present = bus.name_has_owner(BusName::try_from(SYSTEMD)?).await?;
        if present {
            waiting.mark_all();
        } else {
            self.emit(SystemdEvent::Lost(
                "systemd is not on the bus; waiting for it".to_owned(),
            ))
            .await;
        }
        loop {
            if asked.is_none() && present {
                asked = waiting.next(&manager, self.host);
            }
            tokio::select! {
                // Signals first, and nothing below waits for an answer: answers come through the same socket, so
                // signals that nobody takes in would hold them back.
                biased;
                signal = owners.next() => {
                    let signal = signal.ok_or(zbus::Error::InputOutput(ended()))?;
                    present = signal.args()?.new_owner().is_some();
                    asked = None;
                    waiting = Waiting::default();
                    if present {
                        waiting.mark_all();
                    } else {
                        let reason = "systemd has left the bus (it may be executing itself anew); waiting for it";
                        self.emit(SystemdEvent::Lost(reason.to_owned())).await;
                    }
                }
                signal = added.next() => {
                    let signal = signal.ok_or(zbus::Error::InputOutput(ended()))?;
                    waiting.mark(signal.args()?.id);
                }
                signal = removed.next() => {
                    let signal = signal.ok_or(zbus::Error::InputOutput(ended()))?;
                    waiting.mark(signal.args()?.id);
                }
                signal = reloading.next() => {
                    let active = signal.ok_or(zbus::Error::InputOutput(ended()))?.args()?.active;
                    if !active {
                        // What is being asked now may still get old answers.
                        asked = None;
                        waiting.mark_all();
                    }
                    self.emit(SystemdEvent::Reloading(active)).await;
                }
                answer = async { asked.as_mut().expect("checked by the guard").await }, if asked.is_some() => {
                    asked = None;
                    self.tell(answer?).await;
                }
            }
        }
    }

    async fn tell(&mut self, answer: Answer) {
        let event = match answer {
            Answer::All(version, mut units) => {
                units.sort_by(|a, b| a.name.cmp(&b.name));
                self.said_anything = true;
                SystemdEvent::Snapshot { version, units }
            }
            Answer::One(_, Some(info)) => SystemdEvent::Unit(info),
            Answer::One(unit, None) => SystemdEvent::Removed(unit),
        };
        self.emit(event).await;
    }

    /// Hands an event over; waits while the channel is full. A closed channel ends the task elsewhere.
    async fn emit(&self, event: SystemdEvent) {
        self.events.send(event).await.ok();
    }
}

/// Asks for signals; asking again does no harm.
async fn subscribe(manager: &ManagerProxy<'_>) -> zbus::Result<()> {
    match manager.subscribe().await {
        Err(zbus::Error::MethodError(name, _, _))
            if name.as_str() == "org.freedesktop.systemd1.AlreadySubscribed" =>
        {
            Ok(())
        }
        other => other,
    }
}

fn ended() -> std::sync::Arc<std::io::Error> {
    std::io::Error::new(
        std::io::ErrorKind::ConnectionReset,
        "the bus closed the connection",
    )
    .into()
}
