//! `memmon check --self-test` on a kernel where everything it tries is possible.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::guest::{Case, Ctx, Outcome, documents::document};

/// This topic's cases.
pub const CASES: &[Case] = &[Case {
    name: "attribution.self-test",
    run: self_test,
    seconds: 90,
}];

/// `memmon check`: everything, and everything but something that is not required.
const DONE: i32 = 0;
const DEGRADED: i32 = 5;

/// Roles that must have a program: on every kernel here, whatever its age.
const ROLES: [&str; 3] = [
    "attributes every swapped-out page to its owner",
    "second ledger: pages written to a swap device (pswpout)",
    "pages read back from swap (pswpin and its zswap and zero shares)",
];

fn self_test(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(64)?;
    let output = Command::new("/usr/bin/memmon")
        .args(["check", "--self-test", "--json"])
        .output()
        .context("starting memmon check")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    ensure!(
        matches!(code, Some(DONE | DEGRADED)),
        "memmon check: {}: {}{said}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    let document = document("memmon.check/1", &String::from_utf8_lossy(&output.stdout))?;
    ctx.log("check", &serde_json::to_string_pretty(&document)?)?;
    let test = &document["self_test"];
    let pages = test["counted_pages"].as_u64().unwrap_or(0);
    ensure!(
        test["ok"] == true && pages > 0 && test["expected_pages"] == pages,
        "the self-test: {test}"
    );
    ensure!(
        document["attribution"] == "exact",
        "attribution: {}",
        document["attribution"]
    );
    let hooks = document["hooks"].as_array().context("hooks")?;
    let unusable: Vec<_> = hooks.iter().filter(|hook| hook["usable"] != true).collect();
    ensure!(
        (code == Some(DONE)) == unusable.is_empty(),
        "exit code {code:?} with {unusable:?}"
    );
    for role in ROLES {
        ensure!(
            hooks
                .iter()
                .any(|hook| hook["role"] == role && hook["usable"] == true),
            "nothing {role}: {hooks:?}"
        );
    }
    // Which argument of __swap_writepage is the folio differs, and only BTF tells.
    let ledger = hooks
        .iter()
        .find(|hook| hook["name"] == "__swap_writepage")
        .context("__swap_writepage is not among the hooks")?;
    Outcome::passed(format!(
        "{pages} pages; {} of {} hooks; {} on __swap_writepage",
        hooks.len() - unusable.len(),
        hooks.len(),
        ledger["program"]
    ))
}
