//! A process that owns pages and does with them what it is told, line by line.
//!
//! [`serve`] is the process, [`client::Workload`] the one who tells it. Requests, with their answers after
//! `ok`; anything else than `ok` is an error in words:
//!
//! | request | does | answer |
//! |---|---|---|
//! | `map KIND BYTES` | maps memory: `anon`, `huge` (2 MiB pages wanted) or `memfd` | index, address, bytes |
//! | `fill I` | writes something different into each page | |
//! | `zero I` | writes zeroes into each page | |
//! | `touch I` | reads each page | |
//! | `pageout I` | `madvise(MADV_PAGEOUT)` | |
//! | `pageout-everywhere I` | the same from every CPU | |
//! | `churn I N` | N times `fill` | |
//! | `storm I N` | N times `fill` and `pageout` | |
//! | `renew I N` | N times `fill`, `pageout`, and forgetting it all, so that nothing is read back | |
//! | `swapped I` | asks its own pagemap | pages in swap |
//! | `unmap I` | gives the memory back; the index stays taken | |
//! | `advise PID ADDRESS BYTES` | `process_madvise(MADV_PAGEOUT)` on another process | bytes advised |
//! | `write PATH VALUE` | writes a file in one go | 1; 0 if the kernel gave up early (EAGAIN, EBUSY) |
//! | `enter DIR` | moves itself to another cgroup | |

pub mod client;
mod memory;
pub mod serve;

/// Bytes of a page: memmon counts in the kernel's, and supports x86-64.
pub const PAGE: u64 = 4096;
