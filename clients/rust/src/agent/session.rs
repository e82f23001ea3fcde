//! One connection to the bus, until it breaks.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use log::warn;
use rustix::process::geteuid;
use tokio::task::JoinSet;
use zbus::{Connection, Message, MessageStream, connection::Builder, fdo::Error as BusError, message::Type};

use super::{Agent, Presence, Tables};
use crate::{process::lock, tag::TagState};

const NAME: &str = "org.omnimind.memmon1";
const PATH: &str = "/org/omnimind/memmon1";
const INTERFACE: &str = "org.omnimind.memmon1.Manager";
const BUS: &str = "org.freedesktop.DBus";
/// Answers outstanding at a time; the agent refuses more than 8.
const IN_FLIGHT: usize = 4;
/// After so long, what was refused for a limit is asked for again: others may have taken theirs back.
const LIMITED: Duration = Duration::from_secs(10);

/// What is to be sent next.
enum Request {
    Tag {
        number: u64,
        start: u64,
        len: u64,
        label: String,
    },
    Untag(u64),
}

/// What came of a request.
struct Answer {
    epoch: u64,
    outcome: Outcome,
}

enum Outcome {
    /// Of our number, and the agent's for it.
    Tag(u64, zbus::Result<u64>),
    /// Of the agent's number.
    Untag(u64, zbus::Result<()>),
}

/// Serves one connection until it breaks.
///
/// # Errors
/// That it broke, or could not be made.
pub(super) async fn serve(agent: &Agent, address: Option<&str>) -> zbus::Result<()> {
    let builder = match address {
        Some(address) => Builder::address(address),
        None => Builder::system(),
    };
    // Who connects. The agent refuses a process that has changed its user since.
    let user = geteuid();
    let conn = builder.build().await?;
    let mut messages = MessageStream::from(&conn);
    let rules = [
        format!("type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{NAME}'"),
        format!("type='signal',sender='{NAME}',interface='{INTERFACE}',member='ReleaseRequested'"),
    ];
    for rule in rules {
        ask_bus(&conn, "AddMatch", &rule).await?;
    }
    let mut owner = String::new();
    let found = ask_bus(&conn, "GetNameOwner", NAME).await;
    let found = found
        .and_then(|reply| reply.body().deserialize())
        .unwrap_or_default();
    owned_by(agent, &conn, &mut owner, found).await;
    let mut answers = JoinSet::new();
    loop {
        while answers.len() < IN_FLIGHT && !owner.is_empty() {
            let Some((epoch, request)) = next(agent) else {
                break;
            };
            answers.spawn(send(conn.clone(), owner.clone(), epoch, request));
        }
        let again = lock(&agent.tables).ask_again;
        tokio::select! {
            () = agent.due.notified() => {}
            () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now).into()), if again.is_some() => {
                agent.ask_again();
            }
            Some(answer) = answers.join_next() => {
                if let Ok(answer) = answer {
                    if denied(&answer) && user != geteuid() {
                        return Err(zbus::Error::Failure(
                            "this process has changed its user, and connects again as the new one".to_owned(),
                        ));
                    }
                    settle(agent, answer);
                }
            }
            message = messages.next() => match message {
                Some(message) => heard(agent, &conn, &mut owner, &message?).await?,
                None => return Err(zbus::Error::InputOutput(
                    std::io::Error::from(std::io::ErrorKind::ConnectionReset).into(),
                )),
            }
        }
    }
}

async fn ask_bus(conn: &Connection, method: &str, argument: &str) -> zbus::Result<Message> {
    conn.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), method, &argument)
        .await
}

async fn heard(agent: &Agent, conn: &Connection, owner: &mut String, message: &Message) -> zbus::Result<()> {
    let header = message.header();
    if header.message_type() != Type::Signal {
        return Ok(());
    }
    let sender = header.sender().map(|sender| sender.as_str()).unwrap_or_default();
    match header.member().map(|member| member.as_str()) {
        Some("NameOwnerChanged") if sender == BUS => {
            let (name, _, new): (String, String, String) = message.body().deserialize()?;
            if name == NAME {
                owned_by(agent, conn, owner, new).await;
            }
        }
        Some("ReleaseRequested") if sender == owner => {
            let (unit, bytes): (String, u64) = message.body().deserialize()?;
            let heard = lock(&agent.tables).on_release;
            if let Some(heard) = heard {
                heard(&unit, bytes);
            }
        }
        _ => {}
    }
    Ok(())
}

async fn owned_by(agent: &Agent, conn: &Connection, owner: &mut String, new: String) {
    if new.is_empty() {
        agent.lose(format!(
            "no memmon agent is running ({NAME} is not on the system bus)"
        ));
    } else if new != *owner {
        let pid = ask_bus(conn, "GetConnectionUnixProcessID", &new).await;
        agent.found(pid.and_then(|reply| reply.body().deserialize()).ok());
    }
    *owner = new;
}

/// Taking back comes first: the agent's table is finite.
fn next(agent: &Agent) -> Option<(u64, Request)> {
    let mut tables = lock(&agent.tables);
    if !matches!(tables.there, Presence::There) {
        return None;
    }
    let request = match tables.to_untag.pop_front() {
        Some(id) => {
            tables.taking_back.insert(id);
            Request::Untag(id)
        }
        None => {
            tables.clearing &= !tables.taking_back.is_empty();
            if tables.clearing {
                return None;
            }
            let number = tables.todo.pop_first()?;
            let tag = tables.tags.get(&number)?;
            Request::Tag {
                number,
                start: tag.pages.start as u64,
                len: tag.pages.len() as u64,
                label: tag.label.clone(),
            }
        }
    };
    Some((tables.epoch, request))
}

/// Calls the agent by its unique name: the bus starts nobody for that.
async fn send(conn: Connection, owner: String, epoch: u64, request: Request) -> Answer {
    let to = Some(owner.as_str());
    let outcome = match request {
        Request::Tag {
            number,
            start,
            len,
            label,
        } => {
            let reply = conn
                .call_method(to, PATH, Some(INTERFACE), "TagRegion", &(start, len, label))
                .await;
            Outcome::Tag(number, reply.and_then(|reply| reply.body().deserialize()))
        }
        Request::Untag(id) => {
            let reply = conn
                .call_method(to, PATH, Some(INTERFACE), "UntagRegion", &id)
                .await;
            Outcome::Untag(id, reply.map(drop))
        }
    };
    Answer { epoch, outcome }
}

fn denied(answer: &Answer) -> bool {
    let error = match &answer.outcome {
        Outcome::Tag(_, outcome) => outcome.as_ref().err(),
        Outcome::Untag(_, outcome) => outcome.as_ref().err(),
    };
    matches!(error, Some(zbus::Error::FDO(error)) if matches!(**error, BusError::AccessDenied(_)))
}

fn settle(agent: &Agent, answer: Answer) {
    let mut tables = lock(&agent.tables);
    if answer.epoch != tables.epoch {
        return;
    }
    match answer.outcome {
        Outcome::Tag(number, answer) => registered(&mut tables, number, answer),
        Outcome::Untag(id, answer) => {
            tables.taking_back.remove(&id);
            // Any other error says that there is no such tag any more.
            if answer.is_err_and(|error| is_limit(&error) || nobody(&error)) {
                tables.untag_later.push(id);
                tables.ask_again.get_or_insert_with(|| Instant::now() + LIMITED);
            }
        }
    }
    drop(tables);
    agent.settled.notify_all();
    agent.due.notify_one();
}

fn registered(tables: &mut Tables, number: u64, answer: zbus::Result<u64>) {
    let (state, id) = match answer {
        Ok(id) => (TagState::Tagged, Some(id)),
        // It ends with the agent, and NameOwnerChanged says so.
        Err(error) if nobody(&error) => return,
        Err(error) => {
            if is_limit(&error) {
                tables.limited.insert(number);
                tables.ask_again.get_or_insert_with(|| Instant::now() + LIMITED);
            }
            (TagState::Not(words(&error)), None)
        }
    };
    match (tables.tags.get_mut(&number), id) {
        (Some(tag), _) => {
            if let TagState::Not(why) = &state
                && tag.state != state
            {
                warn!("the memmon agent refused to register {:?}: {why}", tag.label);
            }
            (tag.state, tag.id) = (state, id);
        }
        // Taken back before the answer came.
        (None, Some(id)) => tables.to_untag.push_back(id),
        (None, None) => {}
    }
}

fn nobody(error: &zbus::Error) -> bool {
    use BusError::{Disconnected, NameHasNoOwner, NoReply, ServiceUnknown};
    let zbus::Error::FDO(error) = error else {
        return false;
    };
    matches!(
        **error,
        NoReply(_) | ServiceUnknown(_) | NameHasNoOwner(_) | Disconnected(_)
    )
}

/// Whether the agent may say something else when others have taken their registrations back.
fn is_limit(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::FDO(error) if matches!(**error, BusError::LimitsExceeded(_)))
}

/// What the agent said, without the error's name.
fn words(error: &zbus::Error) -> String {
    let text = error.to_string();
    match text.split_once(": ") {
        Some((name, said)) if name.contains('.') && !name.contains(' ') => said.to_owned(),
        _ => text,
    }
}
