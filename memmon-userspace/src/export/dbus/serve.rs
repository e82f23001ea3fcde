//! Keeps the service on the bus.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use zbus::Connection;
use zbus::connection::Builder;
use zbus::fdo::DBusProxy;
use zbus::object_server::SignalEmitter;

use super::manager::Manager;
use super::{Doors, NAME, PATH, Signal};
use crate::action::systemd::Bus;

/// Pauses between attempts to connect: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// How long the bus may take to say who a caller is, and for anything else that is asked of it.
const ANSWER: Duration = Duration::from_secs(25);

/// Serves until the senders of `signals` are gone. Without a bus it goes on trying; signals are lost meanwhile, as
/// nobody could hear them.
pub async fn serve(bus: Bus, doors: Doors, mut signals: mpsc::Receiver<Signal>) {
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        match connect(&bus, &doors).await {
            Ok(connection) => {
                tracing::info!("{NAME} is on the bus");
                (pause, told) = (FIRST_PAUSE, false);
                let ended = on_the_bus(&connection, &mut signals).await;
                // Tells the bus now, not when the last task is done with it.
                connection.close().await.ok();
                match ended {
                    Ended::Agent => return,
                    Ended::Bus => tracing::warn!("the connection to the bus is lost: connecting again"),
                    Ended::Name => tracing::warn!("the bus has given the name {NAME} to somebody else"),
                }
            }
            Err(error) if !told => {
                told = true;
                tracing::warn!("{NAME} is not on the bus: {error}; trying again, everything else works on");
            }
            Err(error) => tracing::debug!("{NAME} is still not on the bus: {error}"),
        }
        if !pass(pause, &mut signals).await {
            return;
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

enum Ended {
    Agent,
    Bus,
    Name,
}

async fn connect(bus: &Bus, doors: &Doors) -> zbus::Result<Connection> {
    let builder = match bus {
        Bus::System => Builder::system(),
        Bus::Address(address) => Builder::address(address.as_str()),
    };
    builder
        .method_timeout(ANSWER)
        .serve_at(PATH, Manager::new(doors.clone()))
        // A second agent does not push the first one off, nor is it pushed off.
        .replace_existing_names(false)
        .allow_name_replacements(false)
        .name(NAME)
        .build()
        .await
}

async fn on_the_bus(connection: &Connection, signals: &mut mpsc::Receiver<Signal>) -> Ended {
    let (Ok(bus), Ok(emitter)) = (
        DBusProxy::new(connection).await,
        SignalEmitter::new(connection, PATH),
    ) else {
        return Ended::Bus;
    };
    let Ok(mut lost) = bus.receive_name_lost().await else {
        return Ended::Bus;
    };
    loop {
        tokio::select! {
            signal = signals.recv() => match signal {
                None => return Ended::Agent,
                Some(signal) => if let Err(error) = signal.emit(&emitter).await {
                    tracing::debug!("a signal could not be sent: {error}");
                },
            },
            name = lost.next() => match name {
                // The stream ends with the connection.
                None => return Ended::Bus,
                Some(name) => if name.args().is_ok_and(|args| args.name == NAME) {
                    return Ended::Name;
                },
            },
        }
    }
}

/// Lets time pass; `false` if the agent has ended.
async fn pass(pause: Duration, signals: &mut mpsc::Receiver<Signal>) -> bool {
    let until = tokio::time::Instant::now() + pause;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(until) => return true,
            signal = signals.recv() => if signal.is_none() {
                return false;
            },
        }
    }
}
