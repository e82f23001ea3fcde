//! Brings together what two programs say about the same page: whose address it was, and that it was written.

use std::collections::{HashMap, VecDeque};

use crate::decode::{PageOut, SwapOut};

/// Pages that may wait for their folio to be written.
const MOST: usize = 65_536;

/// One line of a trace of pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The swap-out, with only the pages that this piece stands for. None: a further mapping of a page that
    /// another piece stands for, or a page whose copy in swap was still good, so that nothing was written.
    pub event: SwapOut,
    /// Process and address; `None` if not known.
    pub page: Option<PageOut>,
}

/// Pages that have left their process and wait for their folio to be written.
///
/// A page leaves its process first and is written afterwards, as a rule by the same task a moment later. It may be
/// written later, by another one, or not at all.
#[derive(Debug, Default)]
pub struct PageJoin {
    waiting: HashMap<u64, Vec<PageOut>>,
    /// In the order they came: when, and of which folio.
    order: VecDeque<(u64, u64)>,
}

impl PageJoin {
    /// A page left its process. Several consecutive ones are taken apart.
    pub fn left(&mut self, page: PageOut) {
        const PAGE_SIZE: u64 = 4096;
        for index in 0..page.pages {
            let page = PageOut {
                address: page.address + index * PAGE_SIZE,
                pages: 1,
                ..page.clone()
            };
            self.order.push_back((page.ts_ns, page.folio));
            self.waiting.entry(page.folio).or_default().push(page);
        }
    }

    /// A folio was written: its pages, and for those whose process is not known what is left of it. The pages of
    /// all pieces are those of the event.
    pub fn written(&mut self, event: SwapOut) -> Vec<Piece> {
        let mut pages = self.waiting.remove(&event.folio).unwrap_or_default();
        // The folio's address may already serve another one.
        let later = pages.split_off(pages.partition_point(|page| page.ts_ns <= event.ts_ns));
        if !later.is_empty() {
            self.waiting.insert(event.folio, later);
        }
        let mut rest = event.pages;
        let mut pieces: Vec<Piece> = pages
            .into_iter()
            .map(|page| {
                let pages = rest.min(1);
                rest -= pages;
                piece(page, pages)
            })
            .collect();
        if rest > 0 {
            pieces.push(Piece {
                event: SwapOut { pages: rest, ..event },
                page: None,
            });
        }
        pieces
    }

    /// Pages that left their process before `before_ns` and were not written since. They are not waited for any
    /// longer; nor are the oldest if there are too many.
    pub fn unwritten(&mut self, before_ns: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while let Some(&(ts_ns, folio)) = self.order.front()
            && (ts_ns < before_ns || self.order.len() > MOST)
        {
            self.order.pop_front();
            let Some(pages) = self.waiting.get_mut(&folio) else {
                continue;
            };
            // Usually it has been written, and what waits for this folio, if anything, came later.
            if let Some(index) = pages.iter().position(|page| page.ts_ns == ts_ns) {
                pieces.push(piece(pages.remove(index), 0));
            }
            if pages.is_empty() {
                self.waiting.remove(&folio);
            }
        }
        pieces
    }
}

fn piece(page: PageOut, pages: u64) -> Piece {
    Piece {
        event: SwapOut {
            ts_ns: page.ts_ns,
            owner: page.owner,
            reclaimer: page.reclaimer.clone(),
            pages,
            suppressed_pages: 0,
            folio: page.folio,
        },
        page: Some(page),
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
