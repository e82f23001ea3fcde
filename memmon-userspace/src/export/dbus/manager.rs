//! The interface `org.omnimind.memmon1.Manager`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use tokio::sync::{mpsc, oneshot};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, fdo, interface};
use zbus::{OwnedFd as BusFd, Variant};

use super::caller::{Caller, sender};
use super::doors::{
    Doors, DumpRequest, Order, RangeField, RangesRequest, Refused, ReportRequest, TagRequest, Tagging,
};
use super::gate::{Gate, Permit};
use crate::export::json::report::ReportDocument;

/// systemd's way of saying that a number is not known.
const UNKNOWN: u64 = u64::MAX;

/// The object at [`super::PATH`].
#[derive(Debug)]
pub(super) struct Manager {
    doors: Doors,
    gate: Gate,
}

impl Manager {
    pub(super) fn new(doors: Doors) -> Self {
        Self {
            doors,
            gate: Gate::default(),
        }
    }

    /// Lets a call in and finds out whose it is.
    async fn admit(&self, connection: &Connection, header: &Header<'_>) -> fdo::Result<(Permit, Caller)> {
        let sender = sender(header)?;
        let mut permit = self.gate.enter(sender.to_owned().into())?;
        let caller = Caller::of(connection, sender).await?;
        permit.of_user(caller.uid)?;
        Ok((permit, caller))
    }

    async fn report(&self) -> fdo::Result<Arc<ReportDocument>> {
        ask(&self.doors.reports, ReportRequest::Report)
            .await?
            .map_err(fdo::Error::Failed)
    }

    async fn tagging(&self, caller: Caller, what: Tagging) -> fdo::Result<u64> {
        let process = caller.process()?;
        let request = |answer| TagRequest {
            process,
            what,
            answer,
        };
        ask(&self.doors.tags, request).await?.map_err(refused)
    }
}

/// Hands a request over and waits for its answer.
async fn ask<R, A>(door: &mpsc::Sender<R>, request: impl FnOnce(oneshot::Sender<A>) -> R) -> fdo::Result<A> {
    let (answer, answered) = oneshot::channel();
    match door.try_send(request(answer)) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(_)) => {
            return Err(fdo::Error::LimitsExceeded(
                "memmon has too many requests waiting: try again later".to_owned(),
            ));
        }
        Err(mpsc::error::TrySendError::Closed(_)) => return Err(stopping()),
    }
    answered.await.map_err(|_| stopping())
}

fn stopping() -> fdo::Error {
    fdo::Error::Failed("memmon is stopping and gave no answer".to_owned())
}

fn refused(error: Refused) -> fdo::Error {
    let text = error.to_string();
    match error {
        Refused::Tag(error) if error.is_limit() => fdo::Error::LimitsExceeded(text),
        Refused::Tag(_) => fdo::Error::InvalidArgs(text),
        Refused::Full(_) => fdo::Error::LimitsExceeded(text),
        Refused::Unavailable(_) => fdo::Error::NotSupported(text),
        Refused::Kernel(_) => fdo::Error::Failed(text),
    }
}

#[interface(name = "org.omnimind.memmon1.Manager")]
impl Manager {
    /// The report as JSON (memmon.report/1).
    #[zbus(out_args("json"))]
    async fn get_report(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<String> {
        let (_permit, caller) = self.admit(connection, &header).await?;
        let report = self.report().await?;
        serde_json::to_string(&report.for_user(caller.uid))
            .map_err(|error| fdo::Error::Failed(format!("writing the report: {error}")))
    }

    /// All of the agent's state as text, for people; its form may change.
    #[zbus(out_args("fd"))]
    async fn dump_by_file_descriptor(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<BusFd> {
        let (_permit, caller) = self.admit(connection, &header).await?;
        let uid = caller.uid;
        let request = |answer| ReportRequest::Dump(DumpRequest { uid, answer });
        let text = ask(&self.doors.reports, request)
            .await?
            .map_err(fdo::Error::Failed)?;
        let fd = sealed(&text).map_err(|error| fdo::Error::Failed(format!("making a memfd: {error}")))?;
        Ok(fd.into())
    }

    /// Declares memory of the calling process critical; the range is rounded outwards to whole pages.
    #[zbus(out_args("id"))]
    async fn tag_region(
        &self,
        start: u64,
        length: u64,
        label: String,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<u64> {
        let (_permit, caller) = self.admit(connection, &header).await?;
        self.tagging(caller, Tagging::Tag { start, length, label }).await
    }

    /// Takes a tag of the calling process away.
    async fn untag_region(
        &self,
        id: u64,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let (_permit, caller) = self.admit(connection, &header).await?;
        self.tagging(caller, Tagging::Untag { id }).await.map(drop)
    }

    /// Unit, priority, memory, swap (bytes), swapped-out pages; what is not known is 2^64 - 1.
    #[zbus(out_args("units"))]
    async fn list_units(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<Vec<(String, String, u64, u64, u64)>> {
        let (_permit, _) = self.admit(connection, &header).await?;
        let report = self.report().await?;
        let unit = |unit: &crate::export::json::report::UnitField| {
            (
                unit.unit.clone(),
                unit.priority.to_string(),
                unit.memory_bytes.unwrap_or(UNKNOWN),
                unit.swap_bytes.unwrap_or(UNKNOWN),
                unit.swapout_pages.unwrap_or(UNKNOWN),
            )
        };
        Ok(report.units.iter().map(unit).collect())
    }

    /// Tagged ranges: pid, when that process started (clock ticks since boot), first byte, length (bytes), label. All for
    /// root, those of their own processes for others.
    #[zbus(out_args("ranges"))]
    async fn list_regions(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<Vec<(u32, u64, u64, u64, String)>> {
        let (_permit, caller) = self.admit(connection, &header).await?;
        let uid = caller.uid;
        let request = |answer| ReportRequest::Ranges(RangesRequest { uid, answer });
        let ranges = ask(&self.doors.reports, request)
            .await?
            .map_err(fdo::Error::Failed)?;
        let field = |range: RangeField| (range.pid, range.started, range.start, range.length, range.label);
        Ok(ranges.into_iter().map(field).collect())
    }

    /// Carries the strategies out, or only says what would be done. Returns the report's `strategies` as JSON.
    #[zbus(out_args("json"))]
    async fn apply_strategies(
        &self,
        dry_run: bool,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<String> {
        let (_permit, caller) = self.admit(connection, &header).await?;
        caller.require_root("ApplyStrategies")?;
        let done = ask(&self.doors.orders, |answer| Order::Apply { dry_run, answer }).await?;
        serde_json::to_string(&done)
            .map_err(|error| fdo::Error::Failed(format!("writing the strategies: {error}")))
    }

    /// Puts every limit back that memmon has changed, whatever the situation is, and returns when that is done.
    async fn revert_all(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let (_permit, caller) = self.admit(connection, &header).await?;
        caller.require_root("RevertAll")?;
        ask(&self.doors.orders, |answer| Order::RevertAll { answer }).await
    }

    /// Memory that should stay in RAM went to swap.
    #[zbus(signal)]
    pub(super) async fn alarm_raised(
        emitter: &SignalEmitter<'_>,
        id: &str,
        unit: &str,
        severity: &str,
        reason: &str,
        details: HashMap<&str, Variant<'_>>,
    ) -> zbus::Result<()>;

    /// That is over.
    #[zbus(signal)]
    pub(super) async fn alarm_cleared(emitter: &SignalEmitter<'_>, id: &str) -> zbus::Result<()>;

    /// A limit has another value; no limit is 2^64 - 1, as in systemd.
    #[zbus(signal)]
    pub(super) async fn limit_changed(
        emitter: &SignalEmitter<'_>,
        unit: &str,
        property: &str,
        old: u64,
        new: u64,
        reason: &str,
    ) -> zbus::Result<()>;

    /// The processes of a unit are asked to let go of memory they can do without.
    #[zbus(signal)]
    pub(super) async fn release_requested(
        emitter: &SignalEmitter<'_>,
        unit: &str,
        bytes: u64,
    ) -> zbus::Result<()>;
}

/// The text in a file that nobody can change any more: unlike a pipe, it needs no reader to be written.
fn sealed(text: &str) -> std::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("memmon-dump", flags)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}
