//! `memmon adopt`: processes that run outside of any unit of their own get one.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use zbus_systemd::systemd1::ManagerProxy;

use super::{CliResult, ExitCode, Failure, OrExit as _, output};
use crate::{config::Priority, runtime::self_test::cgroup_of, source::cgroup_tree::CgroupTree};

const EXAMPLES: &str = "\
EXAMPLES
  memmon adopt --pid 4711 --pid 4712 --unit omnimind-worker.scope --priority high
  memmon adopt --release --unit omnimind-worker.scope

The processes go on running; their cgroup changes, and with it what is attributed to
them from then on. Pages that they have already stay with the cgroup they were charged
to. --release puts them back where they came from.";

/// Where they came from, until the next boot.
const RECORD: &str = "/run/memmon/adopted";
/// Where the agent reads priorities from that last until the next boot.
const PRIORITIES: &str = "/run/memmon/memmon.toml.d";
/// How long a scope may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `memmon adopt`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A process to put into the scope
    #[arg(long, value_name = "N", required_unless_present = "release", value_parser = clap::value_parser!(u32).range(2..))]
    pub pid: Vec<u32>,
    /// The scope
    #[arg(long, value_name = "NAME.scope")]
    pub unit: String,
    /// What the scope's memory is worth until the next boot
    #[arg(long, value_name = "P", required_unless_present = "release")]
    pub priority: Option<Priority>,
    /// Put the processes back where they came from; the scope ends with that
    #[arg(long, conflicts_with_all = ["pid", "priority"])]
    pub release: bool,
}

/// Adopts or releases.
///
/// # Errors
/// If the processes are not there, have a unit of their own already, or systemd refuses.
pub fn main(args: &Args) -> CliResult {
    if !crate::action::is_unit_name(&args.unit) || !args.unit.ends_with(".scope") {
        let text = format!(
            "--unit {}: it must be the name of a scope, such as worker.scope",
            args.unit
        );
        return Err(Failure::message(ExitCode::Usage, text));
    }
    let tree = CgroupTree::discover(Path::new("/")).or_exit(ExitCode::Unsupported)?;
    if tree.is_v1() {
        let text = "the memory controller is on cgroup v1: limits on a scope would do nothing";
        return Err(Failure::message(ExitCode::Unsupported, text));
    }
    if args.release {
        release(&tree, &args.unit)
    } else {
        adopt(&tree, args)
    }
}

fn adopt(tree: &CgroupTree, args: &Args) -> CliResult {
    let mut record = String::new();
    for pid in &args.pid {
        let path = cgroup_of(*pid, tree).map_err(|error| anyhow::anyhow!("process {pid}: {error}"))?;
        let name = path.rsplit('/').next().unwrap_or_default();
        if name.ends_with(".service") && !path.contains("/user@") {
            let text =
                format!("process {pid} belongs to {name} already: declare a priority for that in [units]");
            return Err(Failure::message(ExitCode::Usage, text));
        }
        record.push_str(&format!("{pid} {} {path}\n", started(*pid)?));
    }
    fs::create_dir_all(RECORD).with_context(|| format!("creating {RECORD}"))?;
    let file = record_of(&args.unit);
    if file.exists() {
        let text = format!("{} is adopted already: --release it first", args.unit);
        return Err(Failure::message(ExitCode::Usage, text));
    }
    // Before anything changes: who came from where.
    fs::write(&file, record).with_context(|| format!("writing {}", file.display()))?;
    let done = start(args).and_then(|()| wait_for(tree, args));
    if let Err(error) = done {
        let _ = fs::remove_file(&file);
        return Err(error.into());
    }
    if let Some(priority) = args.priority {
        fs::create_dir_all(PRIORITIES).with_context(|| format!("creating {PRIORITIES}"))?;
        let text = format!(
            "[units]\n\"{}\" = \"{priority}\"\n",
            args.unit.replace('\\', "\\\\")
        );
        let path = priorities_of(&args.unit);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        reload_agent();
    }
    let count = args.pid.len();
    output::print_line(&format!(
        "{} holds {count} {}; undo with memmon adopt --release --unit {}",
        args.unit,
        if count == 1 { "process" } else { "processes" },
        args.unit
    ))?;
    Ok(ExitCode::Done)
}

fn start(args: &Args) -> Result<(), anyhow::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let bus = zbus::Connection::system()
            .await
            .context("connecting to the system bus")?;
        let manager = ManagerProxy::new(&bus).await?;
        let value = |value: zbus::Variant<'_>| zbus::OwnedVariant::try_from(value);
        let properties = vec![
            ("PIDs".to_owned(), value(args.pid.clone().into())?),
            (
                "Description".to_owned(),
                value("Processes adopted by memmon".into())?,
            ),
            ("MemoryAccounting".to_owned(), value(true.into())?),
        ];
        manager
            .start_transient_unit(args.unit.clone(), "fail".to_owned(), properties, Vec::new())
            .await
            .with_context(|| format!("starting {}", args.unit))?;
        Ok(())
    })
}

/// The job runs on after the call: wait until the processes are where they should be.
fn wait_for(tree: &CgroupTree, args: &Args) -> Result<(), anyhow::Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let outside = args
            .pid
            .iter()
            .find(|pid| cgroup_of(**pid, tree).is_ok_and(|path| !path.ends_with(&format!("/{}", args.unit))));
        match outside {
            None => return Ok(()),
            Some(pid) if Instant::now() > deadline => {
                anyhow::bail!(
                    "process {pid} is not in {} after {} s",
                    args.unit,
                    PATIENCE.as_secs()
                )
            }
            Some(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn release(tree: &CgroupTree, unit: &str) -> CliResult {
    let file = record_of(unit);
    let text = fs::read_to_string(&file)
        .with_context(|| format!("{unit} is not adopted: reading {}", file.display()))?;
    let mut stays = 0;
    for line in text.lines() {
        let mut fields = line.splitn(3, ' ');
        let (Some(Ok(pid)), Some(since), Some(path)) =
            (fields.next().map(str::parse::<u32>), fields.next(), fields.next())
        else {
            continue;
        };
        // The number may be another process by now.
        let same = started(pid).is_ok_and(|started| started == since);
        let in_scope = cgroup_of(pid, tree).is_ok_and(|path| path.ends_with(&format!("/{unit}")));
        if !same || !in_scope {
            continue;
        }
        let procs = tree.dir(path).join("cgroup.procs");
        if let Err(error) = fs::write(&procs, pid.to_string()) {
            eprintln!("memmon adopt: process {pid} stays in {unit}, {path} does not take it back: {error}");
            stays += 1;
        }
    }
    let _ = fs::remove_file(priorities_of(unit));
    reload_agent();
    if stays > 0 {
        let text = format!("{stays} processes stay in {unit}, without a priority of its own");
        return Err(Failure::message(ExitCode::Failed, text));
    }
    fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    output::print_line(&format!(
        "the processes of {unit} are back; systemd ends the empty scope"
    ))?;
    Ok(ExitCode::Done)
}

/// When a process started, clock ticks after boot: with the number it names a process for ever (proc(5), field 22).
fn started(pid: u32) -> Result<String, anyhow::Error> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is not there"))?;
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    after
        .split_whitespace()
        .nth(19)
        .map(str::to_owned)
        .with_context(|| format!("/proc/{pid}/stat has no start time"))
}

fn record_of(unit: &str) -> PathBuf {
    Path::new(RECORD).join(unit)
}

fn priorities_of(unit: &str) -> PathBuf {
    Path::new(PRIORITIES).join(format!("adopted-{unit}.toml"))
}

/// The agent may not run; then it reads the file when it starts.
fn reload_agent() {
    let reloaded = std::process::Command::new("systemctl")
        .args(["try-reload-or-restart", "memmon.service"])
        .status();
    if !reloaded.is_ok_and(|status| status.success()) {
        eprintln!("memmon adopt: the agent was not told; it reads the priority at its next start or reload");
    }
}
