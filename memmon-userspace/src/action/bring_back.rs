//! Bringing pages of a process back from swap.
//!
//! Reads from a swap device and so takes long: for a thread of its own, never on the reaction path. In chunks; before
//! each it asks whether there is still room, so that no chunk pushes out what another has just brought in, or hits a
//! limit.

use std::sync::atomic::{AtomicBool, Ordering};

use super::fault::{self, Point};
use crate::decode::{Mappings, pagemap};
use crate::source::process::{ProcessError, ProcessHandle};
use crate::source::process_memory::{PageRun, ProcessMemory};

/// Pages that are brought back between two looks at the room there is: 2 MiB.
const CHUNK: u64 = 512;
const PAGE: u64 = 4096;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroughtBack {
    /// Pages of the regions that were in swap.
    pub asked: u64,
    /// Of those, pages that are not in swap any more.
    pub back: u64,
    /// Pages of the regions that are in swap after it: those that did not come, and those that went meanwhile.
    pub still_out: u64,
    /// Why it is not all of them, in words; `None` if it is.
    pub why: Option<String>,
}

impl BroughtBack {
    /// It was not even looked what is in swap.
    pub const fn not_tried(why: String) -> Self {
        Self {
            asked: 0,
            back: 0,
            still_out: 0,
            why: Some(why),
        }
    }
}

/// Brings back what is in swap of `regions`, which are whole pages of the process, by address, as far as it may be
/// read. `room` says how many bytes may come now, or why none. Ends as soon as it can once `cancel` is set.
pub fn bring_back(
    handle: ProcessHandle,
    regions: &[PageRun],
    cancel: &AtomicBool,
    mut room: impl FnMut() -> Result<u64, String>,
) -> BroughtBack {
    let mut outcome = BroughtBack {
        asked: 0,
        back: 0,
        still_out: 0,
        why: None,
    };
    let result = ProcessMemory::open(handle)
        .map_err(|error| error.to_string())
        .and_then(|memory| fetch(&memory, regions, cancel, &mut room, &mut outcome));
    outcome.why = result.err();
    outcome
}

fn fetch(
    memory: &ProcessMemory,
    regions: &[PageRun],
    cancel: &AtomicBool,
    room: &mut impl FnMut() -> Result<u64, String>,
    outcome: &mut BroughtBack,
) -> Result<(), String> {
    let words = |error: ProcessError| error.to_string();
    let out = swapped(memory, regions, cancel)?;
    outcome.asked = count(&out);
    outcome.still_out = outcome.asked;
    let mut stopped = Ok(());
    for chunk in chunks(&out) {
        if cancelled(cancel) {
            return Err(GIVEN_UP.to_owned());
        }
        let wanted = chunk.pages * PAGE;
        match room() {
            Ok(bytes) if bytes >= wanted => {}
            Ok(bytes) => {
                stopped = Err(format!(
                    "there is room for {bytes} bytes, and the next chunk has {wanted}"
                ));
                break;
            }
            Err(why) => {
                stopped = Err(why);
                break;
            }
        }
        // What came before it is counted all the same.
        if let Err(error) = memory.prefetch(&[chunk]).and_then(|()| {
            fault::at(Point::BringBack);
            memory.touch(chunk)
        }) {
            stopped = Err(words(error));
            break;
        }
    }
    // The page table has the last word.
    let after = swapped(memory, regions, cancel).map_err(|why| stopped.clone().err().unwrap_or(why))?;
    outcome.still_out = count(&after);
    outcome.back = outcome.asked - common(&out, &after);
    stopped?;
    match outcome.still_out {
        0 => Ok(()),
        _ => Err("pages went to swap again, or could not be read".to_owned()),
    }
}

const GIVEN_UP: &str = "it was given up";

fn cancelled(cancel: &AtomicBool) -> bool {
    cancel.load(Ordering::Relaxed)
}

/// What of `regions` is in swap. Only where something is mapped: a region may be far larger than that, and each of
/// its pages has an entry in the pagemap.
fn swapped(memory: &ProcessMemory, regions: &[PageRun], cancel: &AtomicBool) -> Result<Vec<PageRun>, String> {
    let words = |error: ProcessError| error.to_string();
    let mappings = Mappings::parse(&memory.maps().map_err(words)?);
    let mut out = Vec::new();
    for region in mapped(regions, &mappings) {
        let mut at = 0;
        while at < region.pages {
            if cancelled(cancel) {
                return Err(GIVEN_UP.to_owned());
            }
            let start = region.start + at * PAGE;
            let entries = memory.entries(start, region.pages - at).map_err(words)?;
            let read = (entries.len() / pagemap::ENTRY) as u64;
            if read == 0 {
                break;
            }
            let runs = pagemap::swapped_runs(&entries).into_iter();
            out.extend(runs.map(|(first, pages)| PageRun {
                start: start + first * PAGE,
                pages,
            }));
            at += read;
        }
    }
    Ok(out)
}

/// The parts of `regions` that are mapped and may be read; both are by address.
fn mapped(regions: &[PageRun], mappings: &Mappings) -> Vec<PageRun> {
    let mut parts = Vec::new();
    for region in regions {
        let end = region.start.saturating_add(region.pages.saturating_mul(PAGE));
        parts.extend(mappings.readable(region.start..end).map(|part| PageRun {
            start: part.start,
            pages: (part.end - part.start) / PAGE,
        }));
    }
    parts
}

fn count(runs: &[PageRun]) -> u64 {
    runs.iter().map(|run| run.pages).sum()
}

/// Pages that are in both; each list is sorted and disjoint.
fn common(a: &[PageRun], b: &[PageRun]) -> u64 {
    let end = |run: &PageRun| run.start + run.pages * PAGE;
    let (mut i, mut j, mut pages) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let (from, to) = (x.start.max(y.start), end(x).min(end(y)));
        pages += to.saturating_sub(from) / PAGE;
        if end(x) <= end(y) {
            i += 1;
        } else {
            j += 1;
        }
    }
    pages
}

fn chunks(runs: &[PageRun]) -> impl Iterator<Item = PageRun> {
    runs.iter().flat_map(|run| {
        let run = *run;
        (0..run.pages.div_ceil(CHUNK)).map(move |n| PageRun {
            start: run.start + n * CHUNK * PAGE,
            pages: (run.pages - n * CHUNK).min(CHUNK),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(page: u64, pages: u64) -> PageRun {
        PageRun {
            start: page * PAGE,
            pages,
        }
    }

    #[test]
    fn chunks_cover_each_run_once() {
        let runs = [run(3, 1), run(10, 2 * CHUNK + 5)];
        let all: Vec<PageRun> = chunks(&runs).collect();
        assert_eq!(
            all,
            [
                run(3, 1),
                run(10, CHUNK),
                run(10 + CHUNK, CHUNK),
                run(10 + 2 * CHUNK, 5)
            ]
        );
    }

    #[test]
    fn what_is_in_both_is_counted_once() {
        let before = [run(0, 4), run(10, 4), run(20, 1)];
        let after = [run(2, 9), run(13, 8)];
        assert_eq!(common(&before, &after), 2 + 1 + 1 + 1);
        assert_eq!(common(&before, &[]), 0);
    }

    #[test]
    fn only_what_is_mapped_and_readable_is_looked_at() {
        let maps = "1000-3000 rw-p 0 00:00 0 \n3000-4000 ---p 0 00:00 0 \n4000-9000 r--p 0 00:00 0 \n";
        let mappings = Mappings::parse(maps);
        let everything = run(0, 1 << 35);
        assert_eq!(mapped(&[everything], &mappings), [run(1, 2), run(4, 5)]);
        assert_eq!(
            mapped(&[run(2, 3), run(8, 4)], &mappings),
            [run(2, 1), run(4, 1), run(8, 1)]
        );
        assert_eq!(mapped(&[run(9, 7)], &mappings), []);
    }

    #[test]
    fn all_addresses_there_are_take_no_time_and_giving_up_ends_it() {
        // This process itself: nothing of it may be in swap, but its whole address space is looked at.
        let everything = [run(0, 1 << 35)];
        let this = || ProcessHandle::open(std::process::id()).expect("alive");
        let outcome = bring_back(this(), &everything, &AtomicBool::new(false), || {
            Err("no".to_owned())
        });
        assert_ne!(outcome.why.as_deref(), Some(GIVEN_UP));
        let outcome = bring_back(this(), &everything, &AtomicBool::new(true), || {
            Err("no".to_owned())
        });
        assert_eq!(outcome.why.as_deref(), Some(GIVEN_UP));
    }

    #[test]
    fn a_process_that_has_ended_is_told_and_nothing_is_asked() {
        let mut child = std::process::Command::new("true").spawn().expect("true");
        let handle = ProcessHandle::open(child.id()).expect("not yet waited for");
        child.wait().expect("wait");
        let outcome = bring_back(handle, &[run(1, 1)], &AtomicBool::new(false), || {
            panic!("no room is asked for")
        });
        assert_eq!((outcome.asked, outcome.back), (0, 0));
        assert!(outcome.why.expect("a reason").contains("ended"));
    }
}
