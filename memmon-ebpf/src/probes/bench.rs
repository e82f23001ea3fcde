//! The floor that `cargo xtask bench` measures against; never attached by the agent.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

/// Costs what any program at the swap-out tracepoint costs.
#[btf_tracepoint]
pub(crate) fn bench_empty(_ctx: BtfTracePointContext) -> i32 {
    0
}
