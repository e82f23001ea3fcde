//! `memmon trace`: every swap-out as it happens, by programs of its own.

use std::{
    num::NonZeroU64,
    ops::Range,
    pin::pin,
    time::{Duration, Instant},
};

use memmon_common::event::SwapOutEvent;

use crate::{
    attribute::{self, Attributed, Piece, UnitIndex},
    config::{Config, Pattern, Priority},
    decode::{SwapOut, VmStat},
    export::json::trace::{LedgerField, PageField, SwapOutLine, TraceEnd},
    kernel::load::MapSizes,
    runtime::{
        observer::{ObserveError, Observer, Ready},
        trace_pages::PageTrace,
    },
    source::{
        probes::{Options, Totals},
        proc::{self, Proc, ProcError},
    },
};

/// Records handled before the other ring and the signals are looked at again.
const BATCH: usize = 4096;
/// Holds about 100,000 records: a storm of a second while the terminal is slow.
const EVENTS_BYTES: u32 = 8 << 20;
/// More than it can hold: each record has a header besides.
const EVENTS_RECORDS: usize = EVENTS_BYTES as usize / size_of::<SwapOutEvent>();

/// How long to wait for a pause in swapping before the counters are read all the same. In a storm there is none, and
/// the user who asked for two seconds wants no more of them.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a page that left its process may wait for being written before it is shown as not written.
const UNWRITTEN_NS: u64 = 5_000_000_000;
/// How long records gather before they are read, so that neighbours can be merged.
const GATHER: Duration = Duration::from_millis(10);

/// What to show, and for how long.
#[derive(Clone, Debug, Default)]
pub struct TraceOptions {
    /// Only units that one of these matches; none = all.
    pub units: Vec<Pattern>,
    /// Only critical units.
    pub critical: bool,
    /// One line for each page, with process and address. Pages of regions that are tagged with a running agent have one
    /// in any case.
    pub pages: bool,
    /// How long; `None` = until interrupted.
    pub duration: Option<Duration>,
    /// How many lines; `None` = any number.
    pub count: Option<NonZeroU64>,
}

/// Where the trace goes.
pub trait Sink {
    /// Tells the user something that is not part of the stream.
    fn note(&mut self, text: &str);
    /// One line.
    ///
    /// # Errors
    /// If it cannot be written; the trace ends.
    fn line(&mut self, line: &SwapOutLine) -> anyhow::Result<()>;
    /// After the last line.
    ///
    /// # Errors
    /// If it cannot be written.
    fn end(&mut self, end: &TraceEnd) -> anyhow::Result<()>;
}

/// Why a trace failed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The host cannot be observed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// `/proc` could not be read.
    #[error(transparent)]
    Proc(#[from] ProcError),
    /// The output could not be written.
    #[error(transparent)]
    Output(#[from] anyhow::Error),
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// `CLOCK_MONOTONIC`, nanoseconds: earlier swap-outs are in these counters, later ones are not.
    at_ns: u64,
    pages: u64,
    swap_write: Option<u64>,
    swap_write_misses: u64,
    totals: Totals,
    misses: u64,
    vmstat: VmStat,
}

/// Reads our counters and the kernel's so that both speak of the same moment, if swapping pauses for one.
fn reading(observer: &Observer) -> Result<Reading, TraceError> {
    let proc = Proc::default();
    let ours = || -> Result<(u64, Totals), ObserveError> {
        Ok((
            observer.probes.swap_out()?.iter().map(|(_, pages)| pages).sum(),
            observer.probes.totals()?,
        ))
    };
    let mut before = ours()?;
    let deadline = Instant::now() + PAUSE;
    while Instant::now() < deadline {
        let at_ns = proc::monotonic_ns();
        proc.refresh_vmstat()?;
        let vmstat = VmStat::parse(&proc.vmstat()?);
        let after = ours()?;
        if before == after {
            return finish(observer, at_ns, after, vmstat);
        }
        before = after;
    }
    proc.refresh_vmstat()?;
    let vmstat = VmStat::parse(&proc.vmstat()?);
    finish(observer, proc::monotonic_ns(), ours()?, vmstat)
}

fn finish(
    observer: &Observer,
    at_ns: u64,
    (pages, totals): (u64, Totals),
    vmstat: VmStat,
) -> Result<Reading, TraceError> {
    let swap_write = observer.probes.swap_write().map_err(ObserveError::from)?;
    Ok(Reading {
        at_ns,
        pages,
        swap_write: swap_write.map(|all| all.iter().map(|(_, pages)| pages).sum()),
        swap_write_misses: observer.swap_write_misses(),
        totals,
        misses: observer.recursion_misses().map_err(ObserveError::from)?,
        vmstat,
    })
}

/// Merges consecutive events of one owner and reclaimer into one line.
struct Lines<'a, S> {
    sink: &'a mut S,
    left: Option<u64>,
    shown_pages: u64,
    open: Option<Attributed>,
    offset_ns: i128,
}

impl<S: Sink> Lines<'_, S> {
    fn push(&mut self, event: Attributed) -> anyhow::Result<()> {
        if let Some(open) = &mut self.open
            && open.cgroup_id == event.cgroup_id
            && open.reclaimer == event.reclaimer
        {
            open.pages += event.pages;
            return Ok(());
        }
        self.flush()?;
        self.open = Some(event);
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let Some(event) = self.open.take() else {
            return Ok(());
        };
        self.line(&event, None)
    }

    /// A line that is not merged with others.
    fn line(&mut self, event: &Attributed, page: Option<PageField>) -> anyhow::Result<()> {
        if self.full() {
            return Ok(());
        }
        self.left = self.left.map(|left| left - 1);
        self.shown_pages += event.pages;
        let line = SwapOutLine::new(event, self.offset_ns);
        self.sink.line(&SwapOutLine { page, ..line })
    }

    fn full(&self) -> bool {
        self.left == Some(0)
    }
}

/// Traces until the duration or the count is reached, or `stop` completes.
///
/// # Errors
/// If the host cannot be observed or the output not be written.
pub async fn trace(
    options: &TraceOptions,
    config: &Config,
    sink: &mut impl Sink,
    stop: impl Future<Output = ()>,
) -> Result<(), TraceError> {
    let sizes = MapSizes {
        events: Some(EVENTS_BYTES),
        ..MapSizes::default()
    };
    // First, so that the walk at the tracepoint runs before the program that tells that a folio was written.
    let mut pages = if options.pages {
        PageTrace::of_all(sink).await
    } else {
        PageTrace::of_tagged(sink).await
    };
    let mut observer = Observer::open(Options {
        emit_all: true,
        sizes,
        ..Options::default()
    })?;
    let start = reading(&observer)?;
    warn_about(options, &observer, sink);

    let attributed = |index: &UnitIndex, event: SwapOut| {
        let event = attribute::attribute(index, event, |owner| index.priority(config, &owner.unit));
        let wanted = (options.units.is_empty()
            || options.units.iter().any(|glob| glob.matches(event.unit())))
            && (!options.critical || event.priority == Priority::Critical);
        wanted.then_some(event)
    };
    let mut lines = Lines {
        sink,
        left: options.count.map(NonZeroU64::get),
        shown_pages: 0,
        open: None,
        offset_ns: proc::wall_clock_offset_ns(),
    };
    let deadline = options
        .duration
        .map(|duration| tokio::time::Instant::from_std(Instant::now() + duration));
    let mut ended = pin!(async {
        match deadline {
            Some(deadline) => {
                tokio::select! { () = stop => (), () = tokio::time::sleep_until(deadline) => () }
            }
            None => stop.await,
        }
    });
    let mut wanted = Wanted {
        times: start.at_ns..u64::MAX,
        attributed: &attributed,
    };
    let mut more = true;
    while !lines.full() {
        if !more {
            lines.flush()?;
        }
        tokio::select! {
            biased;
            () = &mut ended => break,
            // In a storm the ring is never empty: without yielding, neither clock nor signals were looked at until
            // tokio forces it, half a million records later.
            () = tokio::task::yield_now(), if more => {}
            ready = observer.ready(), if !more => {
                if ready.map_err(ObserveError::from)? == Ready::Events {
                    // Reading at every wake-up would have us take turns with the reclaim we watch.
                    tokio::time::sleep(GATHER).await;
                }
            }
            ready = PageTrace::ready(&mut pages), if !more => {
                ready.map_err(ObserveError::from)?;
                tokio::time::sleep(GATHER).await;
            }
        }
        more = match &mut pages {
            Some(pages) => drain_pages(&mut observer, pages, &mut lines, BATCH, &wanted)?,
            None => drain(&mut observer, &mut lines, BATCH, &wanted)?,
        };
    }
    let end = reading(&observer)?;
    // What went out since the ring was last looked at is in these counters too. It fits the ring, or is lost.
    wanted.times.end = end.at_ns;
    match &mut pages {
        Some(pages) => {
            drain_pages(&mut observer, pages, &mut lines, EVENTS_RECORDS, &wanted)?;
            let rest = pages.unwritten(u64::MAX);
            show(&observer.index, pages, &mut lines, rest, &wanted)?;
        }
        None => {
            drain(&mut observer, &mut lines, EVENTS_RECORDS, &wanted)?;
        }
    }
    lines.flush()?;
    let shown_pages = lines.shown_pages;
    let mut summary = summary(&start, &end, shown_pages);
    if let Some(pages) = &pages {
        summary.page_level = Some(pages.level());
        summary.lost_events += pages.lost().map_err(ObserveError::from)?;
    }
    sink.end(&summary)?;
    Ok(())
}

/// Which swap-outs are shown.
struct Wanted<'a, F> {
    /// Those that happened within this time.
    times: Range<u64>,
    /// Those that this names.
    attributed: &'a F,
}

/// Makes lines of waiting records that went out within `times`; `true` if there may be more.
fn drain<S: Sink>(
    observer: &mut Observer,
    lines: &mut Lines<'_, S>,
    limit: usize,
    wanted: &Wanted<'_, impl Fn(&UnitIndex, SwapOut) -> Option<Attributed>>,
) -> Result<bool, TraceError> {
    if let (_, true) = observer.drain_cgroups()? {
        observer.scan()?;
    }
    let mut failed = None;
    let more = observer.drain_events(limit, |index, event| {
        if failed.is_none()
            && wanted.times.contains(&event.ts_ns)
            && let Some(event) = (wanted.attributed)(index, event)
        {
            failed = lines.push(event).err();
        }
    });
    failed.map_or(Ok(more), |error| Err(error.into()))
}

/// As [`drain`], with a line for each page.
fn drain_pages<S: Sink>(
    observer: &mut Observer,
    pages: &mut PageTrace,
    lines: &mut Lines<'_, S>,
    limit: usize,
    wanted: &Wanted<'_, impl Fn(&UnitIndex, SwapOut) -> Option<Attributed>>,
) -> Result<bool, TraceError> {
    if let (_, true) = observer.drain_cgroups()? {
        observer.scan()?;
    }
    pages.follow_tags();
    let mut events = Vec::new();
    let more = observer.drain_events(limit, |_, event| events.push(event));
    events.retain(|event| wanted.times.contains(&event.ts_ns));
    // Afterwards: a page leaves its process before its folio is written.
    pages.take(&wanted.times);
    for event in events {
        let pieces = pages.written(event);
        show(&observer.index, pages, lines, pieces, wanted)?;
    }
    let late = pages.unwritten(proc::monotonic_ns().saturating_sub(UNWRITTEN_NS));
    show(&observer.index, pages, lines, late, wanted)?;
    Ok(more)
}

fn show<S: Sink>(
    index: &UnitIndex,
    pages: &mut PageTrace,
    lines: &mut Lines<'_, S>,
    pieces: Vec<Piece>,
    wanted: &Wanted<'_, impl Fn(&UnitIndex, SwapOut) -> Option<Attributed>>,
) -> anyhow::Result<()> {
    for Piece { event, page } in pieces {
        if let Some(event) = (wanted.attributed)(index, event) {
            if page.is_none() && pages.only_tagged() {
                lines.push(event)?;
                continue;
            }
            lines.flush()?;
            let page = page.map(|page| pages.field(&page));
            lines.line(&event, page)?;
        }
    }
    Ok(())
}

fn warn_about(options: &TraceOptions, observer: &Observer, sink: &mut impl Sink) {
    for hook in observer.probes.hooks() {
        if let Err(reason) = &hook.attached {
            sink.note(&format!("without {}: {reason}", hook.planned.role));
        }
    }
    for glob in &options.units {
        if !observer.index.units().any(|unit| glob.matches(unit.name)) {
            sink.note(&format!(
                "--unit {}: no unit with a cgroup matches at the moment; watching for one",
                glob.as_str()
            ));
        }
    }
}

fn summary(start: &Reading, end: &Reading, shown_pages: u64) -> TraceEnd {
    let vmstat = end.vmstat.since(&start.vmstat);
    let unattributed_pages = end.totals.unattributed_pages - start.totals.unattributed_pages;
    let overflow_pages = end.totals.overflow_pages - start.totals.overflow_pages;
    // An event that was under way at the start may have been recovered since.
    let recursion_misses = end.misses.saturating_sub(start.misses);
    TraceEnd {
        schema: "memmon.trace_end/1",
        pages: end.pages.saturating_sub(start.pages) + unattributed_pages + overflow_pages,
        file_pages: end.totals.file_pages - start.totals.file_pages,
        lost_events: end.totals.ring_drops - start.totals.ring_drops + recursion_misses,
        shown_pages,
        unattributed_pages,
        overflow_pages,
        recursion_misses,
        page_level: None,
        ledger: LedgerField {
            write_folio: vmstat.nr_vmscan_write,
            pswpout: vmstat.pswpout,
            zswpout: vmstat.zswpout,
            zero: vmstat.swpout_zero,
            zswpwb: vmstat.zswpwb,
            swap_write: end
                .swap_write
                .zip(start.swap_write)
                // Too low is worse than none.
                .filter(|_| end.swap_write_misses == start.swap_write_misses)
                .map(|(end, start)| end.saturating_sub(start)),
        },
    }
}
