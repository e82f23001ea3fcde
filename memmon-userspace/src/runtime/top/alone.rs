//! What can be shown without an agent: the kernel's counters, by programs of our own.

use std::path::Path;

use crate::{
    action,
    attribute::{IdLedger, Ledger, StallLedger},
    config::Config,
    export::json::report::{ReportDocument, UnitField},
    policy::Situation,
    runtime::{
        observer::{ObserveError, Observer},
        report::{self, ReportError},
    },
    source::probes::Options,
};

/// More units than this are one, as in the agent.
const UNITS: usize = 4096;
/// Pairs of victim and culprit.
const BLAMED: usize = 1024;

/// Attached programs, and the sums of their counters since.
pub struct Alone {
    observer: Observer,
    config: Config,
    out: Ledger,
    back: Option<IdLedger>,
    stalls: StallLedger,
    situation: Situation,
}

/// There is no report.
#[derive(Debug, thiserror::Error)]
pub(super) enum AloneError {
    /// The counters.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The host.
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl Alone {
    /// Attaches the programs. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If something required is missing on this host.
    pub fn open(config: Config) -> Result<Self, ObserveError> {
        let observer = Observer::open(Options::default())?;
        let tells_swap_in = observer.probes.swap_read()?.is_some();
        Ok(Self {
            observer,
            config,
            out: Ledger::new(UNITS, BLAMED),
            back: tells_swap_in.then(|| IdLedger::new(UNITS)),
            stalls: StallLedger::new(UNITS),
            situation: Situation::Normal,
        })
    }

    /// Reads everything once.
    pub(super) fn report(&mut self) -> Result<ReportDocument, AloneError> {
        self.count()?;
        let system = report::system(&self.config, self.situation)?;
        self.situation = system.situation;
        let leases = action::recorded(Path::new("/run/memmon")).ok();
        let index = &self.observer.index;
        let mut units = report::units(&self.config, &self.observer.tree, index, leases.as_deref());
        units.iter_mut().for_each(|unit| self.add_counts(unit));
        Ok(ReportDocument {
            schema: "memmon.report/1",
            system,
            units,
            blame: Some(report::blame(&self.out)),
            forecast: None,
            strategies: Vec::new(),
            attribution: "unverified",
            agent: None,
            alarms: None,
            regions: None,
        })
    }

    fn count(&mut self) -> Result<(), ObserveError> {
        let (_, lost) = self.observer.drain_cgroups()?;
        let probes = &self.observer.probes;
        let (out, back, stalls) = (probes.swap_out()?, probes.swap_read()?, probes.stalls()?);
        if lost || !self.out.unresolved(&out, &self.observer.index).is_empty() {
            self.observer.scan()?;
        }
        let index = &self.observer.index;
        self.out.apply(&out, index);
        if let (Some(ledger), Some(counts)) = (&mut self.back, &back) {
            ledger.apply(counts, index);
        }
        self.stalls.apply(&stalls, index);
        Ok(())
    }

    fn add_counts(&self, unit: &mut UnitField) {
        #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
        let stalled = self.stalls.nanos_of(&unit.unit).map(|ns| ns as f64 / 1e9);
        unit.swapout_pages = self.out.pages_of(&unit.unit);
        unit.swapin_pages = self.back.as_ref().and_then(|back| back.pages_of(&unit.unit));
        unit.stall_seconds = stalled;
    }
}
