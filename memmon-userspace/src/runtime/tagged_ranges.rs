//! What processes have tagged, as a running agent tells it, for a trace that has no tags of its own.

use std::{collections::HashMap, sync::Arc, time::Duration};

use memmon_common::page::TagRange;
use tokio::{sync::watch, task::AbortHandle};

use crate::{
    action::systemd::Bus,
    decode::ProcessId,
    export::dbus::{Client, ClientError, RangeField},
};

const PAGE_SIZE: u64 = 4096;
/// Between two questions.
const REFRESH: Duration = Duration::from_secs(1);
/// Between two attempts where no agent answers.
const RETRY: Duration = Duration::from_secs(10);
/// How long the first answer is waited for.
const FIRST: Duration = Duration::from_secs(2);

/// Ranges of each process, by address.
pub(super) type Ranges = HashMap<u32, Vec<RangeField>>;

/// Tagged ranges, at most a second old if an agent runs; none otherwise.
#[derive(Debug)]
pub(super) struct TaggedRanges {
    told: watch::Receiver<Arc<Ranges>>,
    task: AbortHandle,
    ticks_per_second: u64,
}

impl TaggedRanges {
    /// Begins to ask the agent; ends with the value.
    pub(super) fn ask(bus: Bus) -> Self {
        let (tell, told) = watch::channel(Arc::default());
        let task = tokio::spawn(async move {
            while !tell.is_closed() {
                if let Err(error) = keep(&bus, &tell).await {
                    tracing::debug!("which regions are tagged is not known: {error}");
                    tell.send_replace(Arc::default());
                }
                tokio::time::sleep(RETRY).await;
            }
        });
        Self {
            told,
            task: task.abort_handle(),
            ticks_per_second: rustix::param::clock_ticks_per_second(),
        }
    }

    /// Waits for the first answer, or for the news that there is none.
    pub(super) async fn wait(&mut self) {
        // Too late is as good as none.
        let _ = tokio::time::timeout(FIRST, self.told.changed()).await;
    }

    /// Everything, as the agent has told it last: another `Arc` each time.
    pub(super) fn all(&self) -> Arc<Ranges> {
        Arc::clone(&self.told.borrow())
    }

    /// Somebody has tagged something.
    pub(super) fn any(&self) -> bool {
        !self.told.borrow().is_empty()
    }

    /// The label of the region that `address` of a process is in; `None` if it is in none, or nobody knows. A process that
    /// executes something else loses its regions within a second.
    pub(super) fn at(&self, process: ProcessId, address: u64) -> Option<String> {
        let told = self.told.borrow();
        let started = process.started(self.ticks_per_second);
        label(told.get(&process.tgid)?, started, address).map(str::to_owned)
    }
}

impl Drop for TaggedRanges {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on what the agent says until it says nothing more.
async fn keep(bus: &Bus, tell: &watch::Sender<Arc<Ranges>>) -> Result<(), ClientError> {
    let client = Client::connect(bus).await?;
    loop {
        tell.send_replace(Arc::new(by_process(client.regions().await?)));
        tokio::time::sleep(REFRESH).await;
    }
}

fn by_process(all: Vec<RangeField>) -> Ranges {
    let mut ranges = Ranges::new();
    for range in all {
        ranges.entry(range.pid).or_default().push(range);
    }
    for ranges in ranges.values_mut() {
        ranges.sort_by_key(|range| range.start);
    }
    ranges
}

/// What ranges cover, sorted by start and disjoint, in pieces that the kernel's side can hold. Which region an address is
/// in is a question for [`TaggedRanges::at`]: here all of them have one label.
pub(super) fn covered(ranges: &[RangeField]) -> Vec<TagRange> {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for range in ranges {
        let (start, end) = (range.start, range.start.saturating_add(range.length));
        match spans.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => spans.push((start, end)),
        }
    }
    let mut covered = Vec::new();
    for (mut start, end) in spans {
        while start < end {
            let pages = u32::try_from((end - start).div_ceil(PAGE_SIZE)).unwrap_or(u32::MAX);
            covered.push(TagRange {
                start,
                pages,
                label: 1,
            });
            start = start.saturating_add(u64::from(pages) * PAGE_SIZE);
        }
    }
    covered
}

fn label(ranges: &[RangeField], started: u64, address: u64) -> Option<&str> {
    let behind = ranges.partition_point(|range| range.start <= address);
    let range = ranges.get(behind.checked_sub(1)?)?;
    (range.started == started && address - range.start < range.length).then_some(range.label.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(pid: u32, start: u64, length: u64, label: &str) -> RangeField {
        RangeField {
            pid,
            started: 40,
            start,
            length,
            label: label.to_owned(),
        }
    }

    #[test]
    fn an_address_has_the_label_of_its_own_process_and_range() {
        let all = by_process(vec![
            range(7, 0x9000, 0x1000, "b"),
            range(7, 0x1000, 0x2000, "a"),
            range(8, 0x1000, 0x1000, "c"),
        ]);
        let at = |pid, address| all.get(&pid).and_then(|ranges| label(ranges, 40, address));
        assert_eq!(
            (at(7, 0xfff), at(7, 0x1000), at(7, 0x2fff)),
            (None, Some("a"), Some("a"))
        );
        assert_eq!(
            (at(7, 0x3000), at(7, 0x9fff), at(7, 0xa000)),
            (None, Some("b"), None)
        );
        assert_eq!((at(8, 0x1800), at(9, 0x1800)), (Some("c"), None));
        assert_eq!(
            label(&all[&7], 41, 0x1000),
            None,
            "another process has that id by now"
        );
    }

    #[test]
    fn overlapping_and_adjacent_ranges_are_one_and_huge_ones_several() {
        let huge = (u64::from(u32::MAX) + 3) * PAGE_SIZE;
        let all = by_process(vec![
            range(7, 0x1000, 0x3000, "a"),
            range(7, 0x2000, 0x1000, "b"),
            range(7, 0x4000, 0x1000, "b"),
            range(7, 0x9000, huge, "c"),
        ]);
        let covered: Vec<(u64, u32)> = covered(&all[&7])
            .iter()
            .map(|range| (range.start, range.pages))
            .collect();
        let second = 0x9000 + u64::from(u32::MAX) * PAGE_SIZE;
        assert_eq!(covered, [(0x1000, 4), (0x9000, u32::MAX), (second, 3)]);
    }

    #[tokio::test]
    async fn without_a_bus_no_region_is_known() {
        let mut tagged = TaggedRanges::ask(Bus::Address("unix:path=/nonexistent/bus".to_owned()));
        tagged.wait().await;
        assert_eq!(
            (
                tagged.at(ProcessId { tgid: 1, start_ns: 0 }, 0x1000),
                tagged.any()
            ),
            (None, false)
        );
    }
}
