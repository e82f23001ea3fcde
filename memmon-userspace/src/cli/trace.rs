//! `memmon trace`: swap-outs as they happen.

use std::{num::NonZeroU64, time::Duration};

use super::{
    CliResult, ExitCode,
    args::{self, ConfigArgs},
    failure, output, privilege,
};
use crate::{
    config::Pattern,
    export::json::trace::{SwapOutLine, TraceEnd},
    runtime::{
        signals,
        trace::{self, Sink, TraceOptions},
    },
};

const EXAMPLES: &str = "\
EXAMPLES
  memmon trace                                  every swap-out, with owner and culprit
  memmon trace --critical --duration 10m        only of critical units, for ten minutes
  memmon trace --unit 'omnimind*.service' --pages  page by page: process, address, mapping
  memmon trace --json | jq 'select(.priority == \"critical\")'  for machines";

/// Arguments of `memmon trace`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only units whose name matches GLOB; may be given more than once
    #[arg(long, value_name = "GLOB")]
    pub unit: Vec<Pattern>,
    /// Only units that the configuration calls critical
    #[arg(long)]
    pub critical: bool,
    /// One line for each page, with process, address and mapping where they are known; 0 pages: a further
    /// mapping of a page, or one that was not written because its copy in swap was still good. Pages of regions that
    /// are tagged with the running agent have a line of their own in any case
    #[arg(long)]
    pub pages: bool,
    /// One JSON object per line (memmon.swap_out/1, at the end memmon.trace_end/1)
    #[arg(long)]
    pub json: bool,
    /// End after D: seconds, or with a unit as in 10m
    #[arg(long, value_name = "D", value_parser = args::span)]
    pub duration: Option<Duration>,
    /// End after N lines
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,
    /// Which configuration to use.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Traces until the given end, or until interrupted.
///
/// # Errors
/// If the configuration is bad, a capability is missing, or the kernel cannot do it.
pub fn main(args: &Args) -> CliResult {
    let config = args.config.load()?;
    privilege::require("memmon trace", privilege::TRACE)?;
    let options = TraceOptions {
        units: args.unit.clone(),
        critical: args.critical,
        pages: args.pages,
        duration: args.duration,
        count: args.count,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = signals::terminate()?;
        let done = if args.json {
            trace::trace(&options, &config, &mut Json, stop).await
        } else {
            trace::trace(
                &options,
                &config,
                &mut Human {
                    header: false,
                    pages: args.pages,
                },
                stop,
            )
            .await
        };
        done.map_err(failure::of_trace)
    })?;
    Ok(ExitCode::Done)
}

/// Where in its process a page was; `?` behind an address that is not certain.
const PLACE: &str = "    PID COMM            ADDRESS        REGION           ";

struct Json;

impl Sink for Json {
    fn note(&mut self, text: &str) {
        eprintln!("memmon trace: {text}");
    }

    fn line(&mut self, line: &SwapOutLine) -> anyhow::Result<()> {
        Ok(output::print_line(&serde_json::to_string(line)?)?)
    }

    fn end(&mut self, end: &TraceEnd) -> anyhow::Result<()> {
        Ok(output::print_line(&serde_json::to_string(end)?)?)
    }
}

struct Human {
    header: bool,
    pages: bool,
}

impl Sink for Human {
    fn note(&mut self, text: &str) {
        eprintln!("memmon trace: {text}");
    }

    fn line(&mut self, line: &SwapOutLine) -> anyhow::Result<()> {
        if !self.header {
            self.header = true;
            let place = if self.pages { PLACE } else { "" };
            output::print_line(&format!(
                "{:<15} {:>6} {:<8} {:<32} {:<9} {place}BY",
                "TIME", "PAGES", "PRIORITY", "UNIT", "RECLAIM"
            ))?;
        }
        let place = match &line.page {
            _ if !self.pages => String::new(),
            None => format!("{:>7} {:<15} {:<14} {:<16} ", "-", "-", "-", "-"),
            Some(page) => format!(
                "{:>7} {:<15} {:<14} {:<16} ",
                page.pid,
                page.comm,
                format!("{}{}", page.address, if page.exact { "" } else { "?" }),
                page.region.as_deref().or(page.mapping.as_deref()).unwrap_or("-"),
            ),
        };
        let tagged = match &line.page {
            Some(page) if !self.pages => format!(
                "; {} of {} {} at {}{}",
                page.region.as_deref().unwrap_or("a tagged region"),
                page.comm,
                page.pid,
                page.address,
                if page.exact { "" } else { "?" },
            ),
            _ => String::new(),
        };
        let by = &line.reclaimer;
        let time = line.ts.get(11..26).unwrap_or(&line.ts);
        Ok(output::print_line(&format!(
            "{time} {:>6} {:<8} {:<32} {:<9} {place}{} ({} {}){tagged}",
            line.pages,
            line.priority.as_str(),
            line.unit,
            by.kind,
            by.unit.as_deref().unwrap_or("-"),
            by.comm,
            by.pid,
        ))?)
    }

    fn end(&mut self, end: &TraceEnd) -> anyhow::Result<()> {
        let number = |value: Option<u64>| value.map_or_else(|| "n/a".to_owned(), |value| value.to_string());
        let mut text = format!(
            "{} pages swapped out, {} shown, {} file pages; kernel: nr_vmscan_write {}, pswpout {}, zswpout {}, zero {}",
            end.pages,
            end.shown_pages,
            end.file_pages,
            number(end.ledger.write_folio),
            number(end.ledger.pswpout),
            number(end.ledger.zswpout),
            number(end.ledger.zero),
        );
        for (count, what) in [
            (end.lost_events, "events lost (their pages are counted above)"),
            (end.overflow_pages, "pages without room in the counters"),
            (end.unattributed_pages, "pages without a readable owner"),
            (
                end.recursion_misses,
                "events missed by the kernel: the counts are too low",
            ),
        ] {
            if count > 0 {
                text.push_str(&format!("\n{count} {what}"));
            }
        }
        Ok(output::print_line(&text)?)
    }
}
