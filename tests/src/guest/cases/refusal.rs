//! A kernel that lacks what attribution needs is told so, with the name of what is missing, and nothing else happens.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::guest::{Case, Ctx, Outcome, documents::document};

/// This topic's cases.
pub const CASES: &[Case] = &[Case {
    name: "refusal.kernel",
    run: kernel,
    seconds: 60,
}];

/// The contract: this host cannot do it.
const UNSUPPORTED: i32 = 3;

fn kernel(_: &mut Ctx) -> Result<Outcome> {
    let output = Command::new("/usr/bin/memmon")
        .args(["check", "--json"])
        .output()
        .context("starting memmon check")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report = document("memmon.check/1", &text)?;
    let hooks = report["hooks"].as_array().context("hooks")?;
    let attribution = hooks
        .iter()
        .find(|hook| hook["required"] == true)
        .context("no hook is required")?;
    if attribution["usable"] == true {
        return Outcome::skipped("this kernel has what attribution needs");
    }
    let reason = attribution["reason"].as_str().unwrap_or_default();
    ensure!(
        output.status.code() == Some(UNSUPPORTED) && report["result"] == "unsupported" && !reason.is_empty(),
        "memmon check: {}: {text}",
        output.status
    );
    for command in [
        &["check"][..],
        &["trace", "--duration", "1s"],
        &["run", "--dry-run"],
    ] {
        let output = Command::new("/usr/bin/memmon")
            .args(command)
            .output()
            .with_context(|| format!("starting memmon {command:?}"))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        ensure!(
            output.status.code() == Some(UNSUPPORTED) && said.contains(reason),
            "memmon {command:?} does not end with {UNSUPPORTED} and say {reason:?}: {}: {said}",
            output.status
        );
    }
    Outcome::passed(reason)
}
