//! Pages that are wanted back: asked for when a region is hit, and again as long as the alarm is on.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Agent, now, regions::Hit, tags::Wanted};
use crate::{
    action::bring_back::BroughtBack,
    config::OnCriticalSwap,
    export::journal::{Entry, Message},
    policy::{self, MonoTime},
};

/// Pauses between two tries for one process: doubled from the first to the last while pages are still out.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// What is wanted, by process.
#[derive(Debug, Default)]
pub(super) struct Bringing(BTreeMap<u32, Job>);

#[derive(Debug)]
struct Job {
    unit: Arc<str>,
    not_before: MonoTime,
    pause: Duration,
    /// The owner of the tags is at it.
    in_flight: bool,
    /// It was hit again meanwhile.
    again: bool,
    /// What was told last: the same again is not news.
    told: Option<BroughtBack>,
}

impl Bringing {
    /// A region of the process was hit.
    pub(super) fn want(&mut self, unit: &Arc<str>, hit: &Hit) {
        let job = self.0.entry(hit.pid).or_insert_with(|| Job {
            unit: Arc::clone(unit),
            not_before: now(),
            pause: FIRST_PAUSE,
            in_flight: false,
            again: false,
            told: None,
        });
        job.again |= job.in_flight;
    }

    /// Gives those processes up that `wanted` does not want any more.
    pub(super) fn keep(&mut self, wanted: impl Fn(u32) -> bool) {
        self.0.retain(|pid, _| wanted(*pid));
    }

    /// The alarm of a unit is over.
    pub(super) fn give_up(&mut self, unit: &str) {
        self.0.retain(|_, job| *job.unit != *unit);
    }
}

impl Agent {
    /// Asks for what is due, where memmon may act.
    pub(super) fn bring_back(&mut self) {
        let may_act = self.hands.is_some()
            && !self.options.dry_run
            && self.config.reaction.on_critical_swap != OnCriticalSwap::AlarmOnly;
        if !may_act {
            return;
        }
        let now = now();
        for (pid, job) in &mut self.bringing.0 {
            let due = !job.in_flight && job.not_before <= now;
            if !due || policy::never_touched(&job.unit, self.own_unit.as_deref()).is_some() {
                continue;
            }
            let Some((_, cgroup)) = self.observer.index.cgroup_of_unit(&job.unit) else {
                continue;
            };
            let wanted = Wanted {
                pid: *pid,
                cgroup: cgroup.to_string(),
            };
            job.in_flight = self.mirror.ask_back(wanted);
        }
    }

    /// What came of it.
    pub(super) fn brought_back(&mut self, pid: u32, outcome: BroughtBack) {
        let now = now();
        let Some(job) = self.bringing.0.get_mut(&pid) else {
            return;
        };
        job.in_flight = false;
        let unit = Arc::clone(&job.unit);
        let news = outcome.back > 0
            || job
                .told
                .as_ref()
                .is_none_or(|told| kind(told.why.as_deref()) != kind(outcome.why.as_deref()));
        if outcome.why.is_none() && !std::mem::take(&mut job.again) {
            self.bringing.0.remove(&pid);
        } else {
            job.not_before = now.after(job.pause);
            job.pause = (job.pause * 2).min(LAST_PAUSE);
            job.told = Some(outcome.clone());
        }
        if news {
            self.tell_brought_back(&unit, pid, &outcome);
        }
        self.review_in(FIRST_PAUSE);
    }

    fn tell_brought_back(&mut self, unit: &str, pid: u32, outcome: &BroughtBack) {
        let BroughtBack {
            asked,
            back,
            still_out,
            why,
        } = outcome;
        let because = why.as_ref().map(|why| format!(": {why}"));
        let text = format!(
            "brought back {back} of {asked} pages that process {pid} of {unit} has tagged, {still_out} are still in swap{}",
            because.unwrap_or_default()
        );
        let priority = self.priority_of(unit);
        self.journal.write(&Entry {
            unit: Some(unit),
            priority: Some(priority),
            pid: Some(pid),
            pages: Some(*back),
            asked: Some(*asked),
            still_out: Some(*still_out),
            reason: Some(why.as_deref().unwrap_or("all of them came back")),
            ..Entry::new(Message::BroughtBack, &text)
        });
    }
}

/// What a reason says apart from its figures: how many bytes there is room for is different each time.
fn kind(why: Option<&str>) -> Option<String> {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "bytes"];
    let is_figure = |word: &&str| word.contains(|c: char| c.is_ascii_digit());
    let is_unit = |word: &&str| UNITS.contains(&word.trim_end_matches([',', ';', ':', '.', ')']));
    let words = why?.split(' ').filter(|word| !is_figure(word) && !is_unit(word));
    Some(words.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn the_same_reason_with_other_figures_is_the_same() {
        let same = |a, b| kind(Some(a)) == kind(Some(b));
        assert!(same(
            "there is room for 4096 bytes, and the next chunk has 8192",
            "there is room for 0 bytes, and the next chunk has 2097152"
        ));
        assert!(same(
            "memory.high leaves 900 MiB, too little",
            "memory.high leaves 1.5 GiB, too little"
        ));
        assert!(!same("memory.high leaves 900 MiB", "memory.max leaves 900 MiB"));
        assert_ne!(kind(None), kind(Some("12")));
    }
}
