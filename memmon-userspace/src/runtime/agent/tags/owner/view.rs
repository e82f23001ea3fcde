//! What the owner tells of its tags.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
};

use super::Owner;
use crate::{
    action::bring_back::BroughtBack,
    attribute::tags::{Region, Tagged},
    export::{
        dbus::RangeField,
        json::report::{BringBackField, RegionField},
    },
    runtime::agent::{
        reporter::sort_regions,
        tags::{Question, TagsView},
    },
};

impl Owner {
    pub(super) fn answer(&mut self, question: Question) {
        // Whoever asked may have given up.
        match question {
            Question::View(answer) => drop(answer.send(self.view())),
            Question::Dump(uid, answer) => drop(answer.send(self.dump(uid))),
            Question::Ranges(uid, answer) => drop(answer.send(self.ranges(uid))),
        }
    }

    fn view(&mut self) -> TagsView {
        let hits = self.count();
        let mut regions = Vec::new();
        for process in self.tags.processes() {
            let mut pages: BTreeMap<u32, u64> = BTreeMap::new();
            for region in process.regions.iter() {
                *pages.entry(region.label.number).or_default() += region.pages();
            }
            let bring_back = self
                .held
                .get(&process.key.pid)
                .and_then(|held| held.brought_back.as_ref())
                .map(bring_back_field);
            regions.extend(process.labels().map(|label| RegionField {
                unit: self.unit_of(process).to_owned(),
                label: label.name.to_string(),
                pid: Some(process.key.pid),
                pages: pages.get(&label.number).copied().unwrap_or(0),
                swapout_pages: Some(hits.get(&label.number).copied().unwrap_or(0)),
                bring_back: bring_back.clone(),
                uid: process.uid,
            }));
        }
        sort_regions(&mut regions);
        TagsView {
            processes: self.tags.processes().count(),
            ranges: self.tags.ranges(),
            regions,
            totals: self.totals.by_region(),
        }
    }

    /// Takes the kernel's counters over; those of labels that are gone end with that.
    pub(super) fn count(&mut self) -> HashMap<u32, u64> {
        let known: HashSet<u32> = self
            .held
            .values()
            .flat_map(|held| held.labels.iter().map(|label| label.number))
            .collect();
        let counted = self.kernel.hits(|label| known.contains(&label));
        self.totals.count(&counted, |label| known.contains(&label));
        counted
    }

    fn unit_of(&self, process: &Tagged) -> &str {
        self.held
            .get(&process.key.pid)
            .map_or("unknown", |held| held.unit.as_str())
    }

    /// Those processes whose ranges `uid` may see.
    fn shown(&self, uid: u32) -> impl Iterator<Item = &Tagged> {
        self.tags
            .processes()
            .filter(move |process| uid == 0 || process.uid == uid)
    }

    fn ranges(&self, uid: u32) -> Vec<RangeField> {
        let ranges = |process: &Tagged| {
            let (pid, started) = (process.key.pid, process.key.started);
            let field = move |region: &Region| RangeField {
                pid,
                started,
                start: region.start,
                length: region.end - region.start,
                label: region.label.name.to_string(),
            };
            process.regions.iter().map(field).collect::<Vec<_>>()
        };
        self.shown(uid).flat_map(ranges).collect()
    }

    fn dump(&self, uid: u32) -> String {
        let mut text = String::new();
        for process in self.shown(uid) {
            let pid = process.key.pid;
            let comm = self.held.get(&pid).map_or("?", |held| held.comm.as_str());
            let unit = self.unit_of(process);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{pid} {comm} {unit}: {} tags", process.tags());
            for region in process.regions.iter() {
                let _ = writeln!(
                    text,
                    "  {:#x}-{:#x} {}",
                    region.start, region.end, region.label.name
                );
            }
        }
        text
    }
}

fn bring_back_field(outcome: &BroughtBack) -> BringBackField {
    BringBackField {
        asked_pages: outcome.asked,
        back_pages: outcome.back,
        still_out_pages: outcome.still_out,
        reason: outcome.why.clone(),
    }
}
