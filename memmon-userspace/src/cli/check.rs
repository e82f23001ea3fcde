//! `memmon check`: what this host lets memmon do.

use super::{CliResult, ExitCode, output, privilege};
use crate::{
    export::json::check::{CapabilityField, CheckDocument, PageLevelField},
    runtime::check,
};

const EXAMPLES: &str = "\
EXAMPLES
  memmon check              hook by hook, with the reason for each \"no\"
  memmon check --self-test  page out known pages and compare what is counted
  memmon check --json       for machines";

/// Arguments of `memmon check`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Page out known pages in a cgroup of memmon's own and compare what is counted
    #[arg(long)]
    pub self_test: bool,
    /// One JSON object (memmon.check/1)
    #[arg(long)]
    pub json: bool,
}

/// Prints what works and what does not; the exit code says it in short.
///
/// # Errors
/// If a capability is missing, or standard output is closed.
pub fn main(args: &Args) -> CliResult {
    // Without these nothing can be tried, and "not usable" would be said of a kernel that is fine.
    let (command, needed) = match args.self_test {
        true => ("memmon check --self-test", privilege::SELF_TEST),
        false => ("memmon check", privilege::TRACE),
    };
    privilege::require(command, needed)?;
    let capabilities = privilege::ALL
        .iter()
        .map(|capability| CapabilityField {
            name: capability.name,
            held: privilege::holds(capability).unwrap_or(false),
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let document = runtime.block_on(check::check(capabilities, args.self_test));
    if args.json {
        output::print_line(&serde_json::to_string(&document)?)?;
    } else {
        output::print(&human(&document))?;
    }
    Ok(match document.result {
        "ok" => ExitCode::Done,
        "degraded" => ExitCode::Degraded,
        _ => ExitCode::Unsupported,
    })
}

fn human(document: &CheckDocument) -> String {
    let unknown = "none";
    let mut text = format!(
        "kernel       {} ({})\nsystemd      {}\ncgroup       {}\n",
        document.kernel.release,
        if document.kernel.btf {
            "with BTF"
        } else {
            "without BTF"
        },
        document.systemd.version.as_deref().unwrap_or(unknown),
        document.cgroup.version.map_or_else(
            || "no memory controller".to_owned(),
            |version| match version {
                2 => "v2".to_owned(),
                _ => "v1: memmon observes and changes nothing".to_owned(),
            }
        ),
    );
    for hook in &document.hooks {
        let state = match (hook.usable, hook.required) {
            (true, _) => "yes",
            (false, true) => "NO ",
            (false, false) => "no ",
        };
        text.push_str(&format!("  {state} {:<32} {}", hook.name, hook.role));
        if let Some(reason) = &hook.reason {
            text.push_str(&format!(": {reason}"));
        }
        text.push('\n');
    }
    for fact in document.facts.iter().filter(|fact| fact.value.is_none()) {
        text.push_str(&format!("  not in this kernel: {}\n", fact.name));
    }
    for capability in document.capabilities.iter().filter(|capability| !capability.held) {
        text.push_str(&format!("  not held: {}\n", capability.name));
    }
    text.push_str(&page_level(&document.page_level));
    match &document.self_test {
        None => text.push_str("self-test    not run (--self-test)\n"),
        Some(test) => text.push_str(&format!(
            "self-test    {}: {} of {} pages{}\n",
            if test.ok { "passed" } else { "FAILED" },
            test.counted_pages
                .map_or_else(|| "no".to_owned(), |pages| pages.to_string()),
            test.expected_pages,
            test.detail
                .as_deref()
                .map(|detail| format!(" ({detail})"))
                .unwrap_or_default(),
        )),
    }
    text.push_str(&format!(
        "attribution  {}\nresult       {}\n",
        document.attribution, document.result
    ));
    text
}

fn page_level(level: &PageLevelField) -> String {
    let state = match (level.available, level.exact) {
        (false, _) => "no",
        (true, Some(true)) => "exact",
        (true, _) => "approximate",
    };
    match &level.reason {
        Some(reason) => format!("page level   {state}: {reason}\n"),
        None => format!("page level   {state}\n"),
    }
}
