//! The eBPF programs' own messages cost nothing while they are off.

use anyhow::{Context as _, Result, ensure};
use memmon::source::probes::Options;

use super::context::Context;
use crate::{
    case::{Case, Outcome},
    pass, skip,
};

pub(super) const CASES: &[Case<Context>] = &[Case {
    name: "log-pruned",
    run: pruned,
}];

/// aya-log's ring buffer, which is in the object as soon as a program says something.
const MESSAGES: &str = "AYA_LOGS";
/// aya-log's mask of levels: everything.
const TRACE: u8 = 5;

fn pruned(context: &mut Context) -> Result<Outcome> {
    let mut verified = Vec::new();
    for log_level in [0, TRACE] {
        let (mut probes, _rings) = context.probes(Options {
            log_level,
            ..Options::default()
        })?;
        if probes.ebpf().map(MESSAGES).is_none() {
            skip!("no program of this object has a message");
        }
        let stats = probes.stats();
        let program = stats.iter().find(|program| program.name == "swap_out");
        verified.push(program.context("swap_out is not loaded")?.verified_instructions);
    }
    ensure!(
        0 < verified[0] && verified[0] < verified[1],
        "the verifier walked through {} instructions without messages, {} with",
        verified[0],
        verified[1]
    );
    pass!(
        "the verifier walks through {} instructions of swap_out, {} with messages",
        verified[0],
        verified[1]
    )
}
