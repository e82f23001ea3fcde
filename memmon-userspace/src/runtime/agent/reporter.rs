//! Writes reports: reads the counters and the cgroups' files, which takes milliseconds where there are many.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    sums::Counts,
    tags::{TagsHandle, TagsView},
    view::{Answer, Ask, UnitView, View},
};
use crate::{
    export::{
        dbus::{DumpRequest, ReportRequest},
        json::{
            forecast::ForecastField,
            report::{AgentField, RegionField, ReportDocument, UnitField},
        },
    },
    kernel::programs::Programs,
    runtime::report::{self, Figures},
    source::{cgroup_tree::CgroupTree, probes::Counters},
};

/// A report of less than this age is given again: the loop makes at most ten a second, whoever asks for more.
const FRESH: Duration = Duration::from_millis(100);

/// The task that writes reports.
pub(super) struct Reporter {
    tree: CgroupTree,
    counters: Arc<Counters>,
    programs: Arc<Programs>,
    asks: mpsc::Sender<Ask>,
    tags: TagsHandle,
    last: Option<(Instant, Arc<ReportDocument>)>,
}

impl Reporter {
    pub(super) fn new(
        tree: CgroupTree,
        counters: Arc<Counters>,
        programs: Arc<Programs>,
        asks: mpsc::Sender<Ask>,
        tags: TagsHandle,
    ) -> Self {
        Self {
            tree,
            counters,
            programs,
            asks,
            tags,
            last: None,
        }
    }

    /// Answers until nobody can ask any more.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<ReportRequest>) {
        while let Some(request) = requests.recv().await {
            // Whoever asked may have given up.
            match request {
                ReportRequest::Report(answer) => drop(answer.send(self.report().await)),
                // A page gives up soon and asks again: the loop need not make up for what it was too busy for.
                ReportRequest::Glance(answer) if answer.is_closed() => {}
                ReportRequest::Glance(answer) => drop(answer.send(self.glance().await)),
                ReportRequest::Dump(DumpRequest { uid, answer }) => drop(answer.send(self.dump(uid).await)),
            }
        }
    }

    async fn report(&mut self) -> Result<Arc<ReportDocument>, String> {
        if let Some(report) = self.fresh() {
            return Ok(report);
        }
        let report = self.ask(Answer::View).await?;
        self.last = Some((Instant::now(), Arc::clone(&report)));
        Ok(report)
    }

    /// A report that is good enough for a glance, too.
    async fn glance(&mut self) -> Result<Arc<ReportDocument>, String> {
        match self.fresh() {
            Some(report) => Ok(report),
            None => self.ask(Answer::Glance).await,
        }
    }

    fn fresh(&self) -> Option<Arc<ReportDocument>> {
        let (written, report) = self.last.as_ref()?;
        (written.elapsed() < FRESH).then(|| Arc::clone(report))
    }

    async fn ask(
        &mut self,
        wanted: fn(oneshot::Sender<View>) -> Answer,
    ) -> Result<Arc<ReportDocument>, String> {
        let (answer, view) = oneshot::channel();
        let counts = Counts::read(&self.counters, &self.programs);
        let stopping = || "memmon is stopping".to_owned();
        self.asks
            .send(Ask {
                counts,
                answer: wanted(answer),
            })
            .await
            .map_err(|_| stopping())?;
        let view = view.await.map_err(|_| stopping())?;
        let tags = self.tags.view().await.ok_or_else(stopping)?;
        Ok(Arc::new(
            self.write(view, tags).map_err(|error| error.to_string())?,
        ))
    }

    fn write(&self, view: View, tags: TagsView) -> Result<ReportDocument, report::ReportError> {
        let figures = Figures::open(&self.tree);
        let mut leases = report::leases_by_unit(&view.leases);
        let mut units: Vec<UnitField> = view
            .units
            .into_iter()
            .map(|unit| UnitField {
                leases: Some(leases.remove(unit.unit.as_ref()).unwrap_or_default()),
                ..unit_field(&figures, unit)
            })
            .collect();
        report::sort(&mut units);
        Ok(ReportDocument {
            schema: "memmon.report/1",
            system: report::system(&view.config, view.situation)?,
            units,
            blame: Some(view.blame),
            strategies: view.strategies,
            attribution: view.attribution,
            agent: Some(AgentField {
                tagged_processes: tags.processes,
                tagged_ranges: tags.ranges,
                ..view.agent
            }),
            alarms: Some(view.alarms),
            regions: Some(tags.regions),
            forecast: view
                .forecasts
                .map(|made| made.iter().map(ForecastField::from).collect()),
        })
    }

    async fn dump(&mut self, uid: u32) -> Result<String, String> {
        let report = self.report().await?.for_user(uid);
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        let tags = self
            .tags
            .dump(uid)
            .await
            .ok_or_else(|| "memmon is stopping".to_owned())?;
        Ok(format!("{text}\n\ntagged ranges\n{tags}"))
    }
}

fn unit_field(figures: &Figures, unit: UnitView) -> UnitField {
    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    let stall_seconds = unit.stall_ns.map(|ns| ns as f64 / 1e9);
    UnitField {
        swapout_pages: unit.swapout_pages,
        swapin_pages: unit.swapin_pages,
        critical_pages_swapped: Some(unit.critical_pages),
        stall_seconds,
        ..figures.of(
            &unit.unit,
            unit.priority,
            unit.cgroup.map(|cgroup| cgroup.to_string()),
        )
    }
}

/// Regions in the order of documents: by unit, label, process.
pub(super) fn sort_regions(regions: &mut [RegionField]) {
    regions.sort_by(|a, b| (&a.unit, &a.label, a.pid).cmp(&(&b.unit, &b.label, b.pid)));
}
