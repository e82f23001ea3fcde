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
    policy::{MonoTime, Rules, StrategyState, strategies},
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
    let mut file: Box<dyn Write> = if args.file == Path::new("-") {
        Box::new(io::stdout())
    } else {
        let file = File::create(&args.file).with_context(|| format!("creating {}", args.file.display()))?;
        Box::new(BufWriter::new(file))
    };
    match args.from_history {
        Some(span) => from_history(args, span, &mut file)?,
        None => look(args, &mut file)?,
    }
    Ok(ExitCode::Done)
}

fn from_history(args: &Args, span: Duration, file: &mut impl Write) -> Result<(), super::Failure> {
    let history = history::open(&args.database)?;
    let to = history::now() + 1;
    let events = history.events(to - history::seconds(span), to, None, Some("decision"), u32::MAX)?;
    replay::begin(file)?;
    for event in events {
        let Some(data) = event.data else { continue };
        let moment: Moment =
            serde_json::from_value(data).context("a stored decision is of another version")?;
        replay::put(file, &moment)?;
    }
    Ok(())
}

fn look(args: &Args, file: &mut impl Write) -> Result<(), super::Failure> {
    let config = args.config.load()?;
    let rules = Rules::from(&config);
    let tree = CgroupTree::discover(Path::new("/")).or_exit(ExitCode::Unsupported)?;
    let places = Places::system((!tree.is_v1()).then(|| tree.mount.clone()));
    let mut index = UnitIndex::new();
    let mut state = StrategyState::default();
    let begin = Instant::now();
    replay::begin(file)?;
    loop {
        let token = index.scan_token();
        index.apply_scan(token, &tree.scan()?);
        let plan = Plan {
            units: survey::units(&index, &config),
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
