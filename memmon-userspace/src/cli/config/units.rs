//! `memmon config units`: unit files that say what the priorities mean.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{
    action::systemd_props::MEMORY_SETTINGS,
    cli::{CliResult, ExitCode, Failure, OrExit as _, args::ConfigArgs, history, output},
    config::Config,
    decode::{Limit, MemInfo},
    policy::{UnitFacts, UnitSection, diff, unit_section},
    record::History,
    runtime::agent::HISTORY,
    source::{cgroup_tree::CgroupTree, proc::Proc},
};

const EXAMPLES: &str = "\
EXAMPLES
  memmon config units                    what would be installed, as a diff
  memmon config units --apply             install it, have systemd read it, say what needs a restart
  memmon config units omnimind.service    one unit
  memmon config units --revert            remove what was installed";

const DROP_IN: &str = "60-memmon.conf";
const OLD_MONITOR: &str = "omnimind-memory-monitor.service";
/// Peaks are looked for within the history's 30 days.
const LOOK_BACK: i64 = 30 * 24 * 3600;

/// Arguments of `memmon config units`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only these units; without any, all that [units] names exactly
    pub units: Vec<String>,
    /// Install the drop-ins
    #[arg(long)]
    pub apply: bool,
    /// Remove the drop-ins
    #[arg(long, conflicts_with = "apply")]
    pub revert: bool,
    /// Which configuration to use.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Shows, installs or removes drop-ins.
///
/// # Errors
/// If systemd does not answer, or a file cannot be written; what was written is taken back then.
pub fn main(args: &Args) -> CliResult {
    let config = args.config.load()?;
    let names: Vec<String> = if args.units.is_empty() {
        let exact = config.units.iter().map(|(pattern, _)| pattern);
        exact
            .filter(|name| !name.contains(['*', '?', '[']))
            .map(str::to_owned)
            .collect()
    } else {
        args.units.clone()
    };
    if let Some(bad) = names.iter().find(|name| !crate::action::is_unit_name(name)) {
        return Err(Failure::message(
            ExitCode::Usage,
            format!("{bad} is not the name of a unit: write it in full, such as {bad}.service"),
        ));
    }
    crate::source::systemd::booted(Path::new("/")).or_exit(ExitCode::Unsupported)?;
    if args.revert {
        return revert(&names);
    }
    let history = History::open(Path::new(HISTORY)).ok();
    let mut text = String::new();
    let mut changes: Vec<Change> = Vec::new();
    for name in &names {
        let facts = facts(name, &config, history.as_ref())?;
        let section = unit_section(&facts);
        let change = Change::new(name, section)?;
        text.push_str(&change.text());
        changes.push(change);
    }
    output::print(&text)?;
    if !args.apply {
        return Ok(ExitCode::Done);
    }
    changes.retain(|change| change.section.text.is_some() && change.differs());
    if changes.is_empty() {
        output::print_line("nothing to install")?;
        return Ok(ExitCode::Done);
    }
    apply(&changes)?;
    for change in &changes {
        let text = change.section.text.as_deref().unwrap_or_default();
        let Some(late) = put_in_force(&change.unit, text, |_, _| true)? else {
            continue;
        };
        let restart: Vec<&str> = change.section.needs_restart.iter().copied().chain(late).collect();
        if !restart.is_empty() {
            output::print_line(&format!(
                "{}: {} need a restart, the rest is in force: systemctl restart {}",
                change.unit,
                restart.join(" and "),
                change.unit
            ))?;
        }
    }
    Ok(ExitCode::Done)
}

/// Writes what systemd has of the limits named in a drop-in's `text` into the cgroup of the running unit, where `may`
/// says so of the value in the text and the file's: systemd reads them at a daemon-reload, but writes them only when
/// something else makes it look at the unit. A limit below what the unit uses is left for its next start: writing it
/// would reclaim at once, or kill.
///
/// Returns those that are left; `None` if the unit does not run.
fn put_in_force(
    unit: &str,
    text: &str,
    may: impl Fn(&str, &str) -> bool,
) -> Result<Option<Vec<&'static str>>, anyhow::Error> {
    let path = show(unit, "ControlGroup")?;
    if path.is_empty() || show(unit, "ActiveState")? != "active" {
        return Ok(None);
    }
    let tree = CgroupTree::discover(Path::new("/")).or_exit(ExitCode::Unsupported);
    let Some(cgroup) = tree.ok().filter(|tree| !tree.is_v1()).map(|tree| tree.dir(&path)) else {
        return Ok(Some(MEMORY_SETTINGS.map(|(name, _)| name).to_vec()));
    };
    let read = |file: &str| fs::read_to_string(cgroup.join(file)).map(|text| text.trim().to_owned());
    let mut late = Vec::new();
    for (name, file) in MEMORY_SETTINGS {
        let Some(ours) = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        else {
            continue;
        };
        let (Ok(there), wanted) = (read(file), show(unit, name)?) else {
            late.push(name);
            continue;
        };
        let wanted = if wanted == "infinity" { "max" } else { &wanted };
        if there == wanted || !may(ours, &there) {
            continue;
        }
        let used: u64 = read("memory.current")
            .ok()
            .and_then(|used| used.parse().ok())
            .unwrap_or(u64::MAX);
        let takes = ["MemoryHigh", "MemoryMax"].contains(&name);
        if takes && wanted.parse::<u64>().is_ok_and(|limit| limit < used) {
            late.push(name);
            continue;
        }
        let path = cgroup.join(file);
        if let Err(error) = fs::write(&path, wanted) {
            eprintln!(
                "memmon config units: writing {wanted} to {}: {error}",
                path.display()
            );
            late.push(name);
        }
    }
    Ok(Some(late))
}

/// One unit's drop-in, as it is and as it should be.
struct Change {
    unit: String,
    path: PathBuf,
    before: Option<String>,
    section: UnitSection,
}

impl Change {
    fn new(unit: &str, section: UnitSection) -> Result<Self, anyhow::Error> {
        let path = drop_in(unit);
        let before = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        Ok(Self {
            unit: unit.to_owned(),
            path,
            before,
            section,
        })
    }

    fn differs(&self) -> bool {
        self.before != self.section.text
    }

    fn text(&self) -> String {
        let mut text = match (&self.section.text, self.differs()) {
            (None, _) => format!("{}: nothing to set\n", self.unit),
            (Some(_), false) => format!("{}: installed as it should be\n", self.unit),
            (Some(new), true) => format!(
                "{}\n{}",
                self.path.display(),
                diff(self.before.as_deref().unwrap_or(""), new)
            ),
        };
        for warning in &self.section.warnings {
            text.push_str(&format!("warning: {}: {warning}\n", self.unit));
        }
        text
    }

    fn put(&self, content: Option<&str>) -> Result<(), anyhow::Error> {
        let doing = || format!("writing {}", self.path.display());
        let Some(content) = content else {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(doing),
                _ => Ok(()),
            };
        };
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir).with_context(doing)?;
        }
        // Renamed into place: systemd never reads half a file.
        let new = self.path.with_extension("conf.new");
        fs::write(&new, content).with_context(doing)?;
        fs::rename(&new, &self.path).with_context(doing)
    }
}

fn drop_in(unit: &str) -> PathBuf {
    PathBuf::from(format!("/etc/systemd/system/{unit}.d/{DROP_IN}"))
}

/// Installs all of them, or none.
fn apply(changes: &[Change]) -> Result<(), anyhow::Error> {
    let installed = changes
        .iter()
        .try_for_each(|change| change.put(change.section.text.as_deref()))
        .and_then(|()| run("systemctl", &["daemon-reload"]).map(drop))
        .and_then(|()| changes.iter().try_for_each(verify));
    if let Err(error) = installed {
        for change in changes {
            if let Err(error) = change.put(change.before.as_deref()) {
                eprintln!("memmon config units: {error:#}");
            }
        }
        run("systemctl", &["daemon-reload"])?;
        return Err(error.context("nothing was installed: what was written has been taken back"));
    }
    Ok(())
}

/// systemd has read the drop-in, and has the values in it: another that sorts later may have won.
fn verify(change: &Change) -> Result<(), anyhow::Error> {
    let paths = show(&change.unit, "DropInPaths")?;
    let path = change.path.display().to_string();
    anyhow::ensure!(
        paths.split_whitespace().any(|known| known == path),
        "systemd does not read {path} for {} (it reads {paths})",
        change.unit
    );
    let lines = change.section.text.iter().flat_map(|text| text.lines());
    for (name, value) in lines.filter_map(|line| line.split_once('=')) {
        if name.starts_with(['#', '[']) {
            continue;
        }
        let has = show(&change.unit, name)?;
        if has != value {
            eprintln!(
                "memmon config units: {name} of {} is {has}, not {value}: a drop-in that sorts after {DROP_IN} decides",
                change.unit
            );
        }
    }
    Ok(())
}

fn revert(names: &[String]) -> CliResult {
    let mut removed = Vec::new();
    for name in names {
        let path = drop_in(name);
        let text = fs::read_to_string(&path).unwrap_or_default();
        match fs::remove_file(&path) {
            Ok(()) => removed.push((name, path, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("removing {}", path.display()))
                    .map_err(Failure::from);
            }
        }
    }
    if removed.is_empty() {
        output::print_line("nothing is installed")?;
        return Ok(ExitCode::Done);
    }
    run("systemctl", &["daemon-reload"])?;
    for (unit, path, text) in &removed {
        output::print_line(&format!("removed {}", path.display()))?;
        // Only if nothing else is in it.
        let _ = path.parent().map(fs::remove_dir);
        // What somebody else has written there since is theirs.
        let late = put_in_force(unit, text, |ours, there| ours == there)?.unwrap_or_default();
        if !late.is_empty() {
            output::print_line(&format!(
                "{unit}: {} as before after a restart",
                late.join(" and ")
            ))?;
        }
    }
    output::print_line("OOMScoreAdjust and LimitMEMLOCK of running units change when they are restarted")?;
    Ok(ExitCode::Done)
}

fn facts(unit: &str, config: &Config, history: Option<&History>) -> Result<UnitFacts, anyhow::Error> {
    let memory = MemInfo::parse(&Proc::default().meminfo()?)?;
    let now = history::now();
    let seen = history.and_then(|history| history.series(unit, now - LOOK_BACK, now, 2000).ok());
    let stored = seen.into_iter().flatten().map(|row| row.memory_peak_bytes).max();
    // The kernel's own peak from 5.19, as systemd shows it from 255; else what is in use.
    let now_used = ["MemoryPeak", "MemoryCurrent"].iter().find_map(|name| {
        show(unit, name)
            .ok()?
            .parse::<u64>()
            .ok()
            .filter(|bytes| *bytes < u64::MAX)
    });
    let peak = stored.and_then(|peak| u64::try_from(peak).ok()).max(now_used);
    // A unit that is not there has no text; the drop-in would wait for it.
    let all = run("systemctl", &["cat", "--no-pager", unit]).unwrap_or_default();
    let mut slices = Vec::new();
    let mut slice = show(unit, "Slice").unwrap_or_default();
    while !slice.is_empty() && slice != "-.slice" {
        let next = show(&slice, "Slice").unwrap_or_default();
        slices.push(std::mem::replace(&mut slice, next));
    }
    let mut above = Vec::new();
    for slice in &slices {
        for property in ["MemoryMax", "MemoryHigh", "MemoryLow"] {
            let limit = match show(slice, property)?.parse::<u64>() {
                Ok(bytes) if bytes < u64::MAX => Limit::Bytes(bytes),
                _ => Limit::Max,
            };
            above.push((slice.clone(), property, limit));
        }
    }
    let kills = |place: &String| {
        ["ManagedOOMSwap", "ManagedOOMMemoryPressure"]
            .iter()
            .any(|name| show(place, name).is_ok_and(|value| value == "kill"))
    };
    let oomd = std::iter::once(unit.to_owned())
        .chain(slices)
        .filter(kills)
        .collect();
    let writes = |name: &str| {
        show(name, "ActiveState").is_ok_and(|state| state == "active")
            || show(name, "UnitFileState").is_ok_and(|state| state == "enabled")
    };
    Ok(UnitFacts {
        unit: unit.to_owned(),
        priority: Some(config.priority(unit)),
        missing: show(unit, "LoadState").is_ok_and(|state| state == "not-found"),
        peak,
        ram: memory.total,
        text: without_own(&all),
        above,
        oomd,
        second_writer: writes(OLD_MONITOR).then(|| OLD_MONITOR.to_owned()),
    })
}

/// `systemctl cat` puts the path of each file before it, as a comment.
fn without_own(all: &str) -> String {
    let mut own = false;
    let mut text = String::new();
    for line in all.lines() {
        if line.starts_with("# /") {
            own = line.ends_with(DROP_IN);
        }
        if !own {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn show(unit: &str, property: &str) -> Result<String, anyhow::Error> {
    run("systemctl", &["show", "--no-pager", "-P", property, "--", unit])
}

fn run(program: &str, args: &[&str]) -> Result<String, anyhow::Error> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("running {program} {}", args.join(" ")))?;
    anyhow::ensure!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
