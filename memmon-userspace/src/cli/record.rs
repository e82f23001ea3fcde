//! `memmon record`: writes what decisions rest on, for `memmon simulate`.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{CliResult, ExitCode, OrExit as _, args, args::ConfigArgs, history};
use crate::{
    attribute::UnitIndex,
    config::Config,
    policy::{MonoTime, Rules, StrategyState, strategies},
    record::History,
    runtime::{
        agent::HISTORY,
        replay::{self, Moment},
        survey::{self, Places, Plan},
    },
    source::{cgroup_tree::CgroupTree, proc},
};

const EXAMPLES: &str = "\
EXAMPLES
  memmon record --duration 10m load.jsonl      ten minutes of this host
  memmon record --from-history 1d yesterday.jsonl  what the agent decided within the last day
  memmon simulate --policy new.toml load.jsonl";

/// Arguments of `memmon record`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The recording; "-" is standard output
    pub file: PathBuf,
    /// Time between two looks
    #[arg(long, value_name = "SPAN", default_value = "5", value_parser = args::span)]
    pub interval: Duration,
    /// End after so long; without it, by Ctrl-C
    #[arg(long, value_name = "SPAN", value_parser = args::span)]
    pub duration: Option<Duration>,
    /// Take the decisions that the agent has stored since so long ago, instead of looking
    #[arg(long, value_name = "SPAN", value_parser = args::span, conflicts_with_all = ["duration", "interval"])]
    pub from_history: Option<Duration>,
    /// Read this database
    #[arg(long, value_name = "DATABASE", default_value = HISTORY)]
    pub database: PathBuf,
    /// Which configuration decides in the recording.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Writes a recording.
///
/// # Errors
/// If the host or the database cannot be read, or the file not be written.
pub fn main(args: &Args) -> CliResult {
    // What is to be recorded is found out first: a mistake must not cost an older recording.
    match args.from_history {
        Some(span) => {
            let history = history::open(&args.database)?;
            from_history(&history, span, &mut create(&args.file)?)?;
        }
        None => {
            let config = args.config.load()?;
            let tree = CgroupTree::discover(Path::new("/")).or_exit(ExitCode::Unsupported)?;
            look(args, &config, &tree, &mut create(&args.file)?)?;
        }
    }
    Ok(ExitCode::Done)
}

fn create(path: &Path) -> Result<Box<dyn Write>, anyhow::Error> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

fn from_history(history: &History, span: Duration, file: &mut impl Write) -> Result<(), super::Failure> {
    let to = history::now() + 1;
    let events = history.events(to - history::seconds(span), to, None, Some("decision"), u32::MAX)?;
    replay::begin(file)?;
    let mut moments = 0;
    for event in events {
        let Some(data) = event.data else { continue };
        let moment: Moment = serde_json::from_value(data).with_context(|| {
            format!(
                "the decision of {} was stored by another version",
                history::time(event.at)
            )
        })?;
        replay::put(file, &moment)?;
        moments += 1;
    }
    if moments == 0 {
        eprintln!(
            "memmon record: no decision was stored in the last {}: the recording is empty",
            humantime::format_duration(span)
        );
    }
    Ok(())
}

fn look(
    args: &Args,
    config: &Config,
    tree: &CgroupTree,
    file: &mut impl Write,
) -> Result<(), super::Failure> {
    let rules = Rules::from(config);
    let places = Places::system((!tree.is_v1()).then(|| tree.mount.clone()));
    let mut index = UnitIndex::new();
    let mut state = StrategyState::default();
    let begin = Instant::now();
    replay::begin(file)?;
    loop {
        let token = index.scan_token();
        index.apply_scan(token, &tree.scan()?);
        let plan = Plan {
            units: survey::units(&index, config),
            ..Plan::default()
        };
        let snapshot = survey::survey(&places, &plan)?;
        let now = MonoTime(proc::monotonic_ns());
        state.observe(&snapshot, &rules, now);
        let decision = strategies(&snapshot, &rules, &state, now);
        replay::put(
            file,
            &Moment {
                now,
                snapshot,
                state: None,
                decision: Some(decision),
            },
        )?;
        if args
            .duration
            .is_some_and(|duration| begin.elapsed() + args.interval > duration)
        {
            return Ok(());
        }
        std::thread::sleep(args.interval);
    }
}
