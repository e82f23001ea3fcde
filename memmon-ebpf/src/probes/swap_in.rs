//! Swap-in: there is no tracepoint, so the function that reads a folio back is hooked where that is allowed.

use aya_ebpf::{macros::fentry, programs::FEntryContext};
use memmon_common::event::total;

use crate::{
    kread::{self, Typed},
    maps::{self, SWAP_READ, fact},
};

#[inline(always)]
fn swap_read(folio: Typed) -> i32 {
    let pages = kread::pages_of_folio(folio, folio.u64(fact!(folio_flags)));
    let memcg = kread::memcg_of_folio(folio);
    let owner = if memcg == 0 { 0 } else { kread::id_of_memcg(memcg) };
    if !maps::add(&SWAP_READ, &owner, pages) {
        maps::count(total::LEDGER_OVERFLOW_PAGES, pages);
    }
    0
}

/// `swap_read_folio` or `swap_readpage` where the folio (or page) is the first argument.
#[fentry]
pub(crate) fn swap_read_0(ctx: FEntryContext) -> i32 {
    swap_read(Typed::new(ctx.arg::<*const u8>(0)))
}

/// `swap_read_folio` where the folio is the second argument (7.3).
#[fentry]
pub(crate) fn swap_read_1(ctx: FEntryContext) -> i32 {
    swap_read(Typed::new(ctx.arg::<*const u8>(1)))
}
