//! `cargo xtask vm`: Debian's own kernels with a real systemd, in QEMU.
//!
//! Nothing is mounted and nothing is installed on the host: kernels are unpacked, root file systems are built
//! in a directory and turned into images, and a boot writes to a snapshot that is thrown away.

mod apt;
mod cache;
mod command;
mod cpio;
mod disk;
mod host_sources;
mod initramfs;
mod kernel;
mod monitoring;
mod payload;
mod platform;
mod protocol;
mod qemu;
mod rootfs;
mod run;
mod shell;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};

use crate::web;

use self::{
    kernel::Kernel,
    platform::Platform,
    run::{Plan, Summary},
};

/// Programs of the host that the virtual machines need, and the Debian packages they come from.
pub(crate) const HOST_PROGRAMS: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("mmdebstrap", "mmdebstrap"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("setpriv", "util-linux"),
    ("xz", "xz-utils"),
];

/// Seconds for one boot with all its cases: several times what it takes, since every case has a deadline of its
/// own and only a machine that hangs comes this far.
const DEADLINE: u64 = 1800;

/// Machines that run at a time on this host, by the name of their lock. Under emulation a machine keeps little more
/// than one CPU busy; a third would only make all of them run into their deadlines.
const LANES: &[&str] = &["machine", "machine-2"];

/// Arguments of `cargo xtask vm`.
#[derive(Args)]
pub(crate) struct VmArgs {
    #[command(subcommand)]
    command: VmCommand,
}

#[derive(Subcommand)]
enum VmCommand {
    /// Make the images of every platform of `cargo xtask test`, or of the ones named.
    Images {
        /// Look for newer kernels even where there is an image.
        #[arg(long)]
        refresh: bool,
        /// Only this platform; may be given several times.
        #[arg(long)]
        kernel: Vec<String>,
    },
    /// Boot platforms and run their cases.
    Run(RunArgs),
    /// Boot a platform with a shell on the terminal; leaving the shell powers it off (Ctrl-A X: QEMU ends).
    Shell {
        /// The platform.
        #[arg(long, default_value = "trixie")]
        kernel: String,
    },
    /// Run the cases on every platform, also on those that `cargo xtask test` leaves out.
    Matrix,
    /// Run the long cases: an hour of storm, ten thousand units.
    Soak(SoakArgs),
}

/// Arguments of `cargo xtask vm soak`.
#[derive(Args)]
struct SoakArgs {
    /// The platform; may be given several times.
    #[arg(long, default_value = "newest")]
    kernel: Vec<String>,
    /// Only the cases whose name matches; may be given several times.
    #[arg(long = "case", value_name = "GLOB")]
    cases: Vec<String>,
    /// How long a case that could go on for ever does.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

/// Arguments of `cargo xtask vm run`.
#[derive(Args)]
struct RunArgs {
    /// The platform; may be given several times. Without it: those of `cargo xtask test`.
    #[arg(long)]
    kernel: Vec<String>,
    /// Only the cases whose name matches; may be given several times.
    #[arg(long = "case", value_name = "GLOB")]
    cases: Vec<String>,
    /// Give up after so many seconds per boot.
    #[arg(long, default_value_t = DEADLINE)]
    deadline: u64,
}

/// Carries out a `cargo xtask vm` command.
///
/// # Errors
/// If a host program is missing, an image cannot be made, or a case fails.
pub(crate) fn main(args: VmArgs) -> Result<()> {
    match args.command {
        VmCommand::Images { refresh, kernel } => {
            for platform in platforms(&kernel)? {
                images(platform, refresh)?;
            }
            Ok(())
        }
        VmCommand::Run(args) => {
            let plan = Plan {
                cases: args.cases,
                deadline: Duration::from_secs(args.deadline),
                soak_minutes: None,
            };
            run_all(&platforms(&args.kernel)?, |_| plan.clone())
        }
        VmCommand::Shell { kernel } => {
            let platform = platform::named(&kernel)?;
            let (kernel, root) = images(platform, false)?;
            shell::shell(platform, &kernel, &root, &payload::build()?)
        }
        VmCommand::Soak(args) => {
            let plan = Plan {
                cases: args.cases,
                // The storm, and two hours for the cases whose end is a number, not a time.
                deadline: Duration::from_secs((args.minutes + 120) * 60),
                soak_minutes: Some(args.minutes),
            };
            run_all(&platforms(&args.kernel)?, |_| plan.clone())
        }
        VmCommand::Matrix => {
            let all: Vec<_> = platform::PLATFORMS.iter().collect();
            run_all(&all, |platform| Plan {
                cases: if platform.supported { &[][..] } else { REFUSED }
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                ..everything()
            })
        }
    }
}

/// The cases of `cargo xtask test` on every platform: what depends on the kernel. Measurements (`reaction.*`, `pages.cost`)
/// are for `cargo xtask vm run` and `matrix`, which take everything along.
const EVERYDAY: &[&str] = &[
    "smoke.*",
    "job.*",
    "attribution.*",
    "pages.[!c]*",
    "pages.check",
    "limits.auto-*",
    "tags.hit-and-back",
    "tags.ends",
];

/// What depends on systemd, of which there are two versions, and what has little to do with either: once.
const EVERYDAY_ON: &[(&str, &[&str])] = &[
    (
        "bookworm",
        &[
            "reverts.*",
            "operator.*",
            "lifecycle.*",
            "limits.*",
            "modes.*",
            "faults.*",
            "commands.*",
            "package.life",
        ],
    ),
    (
        "trixie",
        &[
            "reverts.*",
            "operator.*",
            "lifecycle.*",
            "limits.*",
            "modes.*",
            "faults.*",
            "bus.*",
            "commands.*",
            "tags.*",
            "clients.*",
            "package.*",
            "story.*",
            "crash.*",
            "strategies.[!c]*",
        ],
    ),
];

/// What of it makes sense on a kernel that memmon does not work on.
const REFUSED: &[&str] = &["smoke.*", "refusal.*"];

/// Programs that tests on this machine use, ready to be run; the directory that holds them.
///
/// # Errors
/// If they cannot be downloaded or unpacked.
pub(crate) fn test_programs() -> Result<PathBuf> {
    require_host_programs()?;
    let _lock = cache::lock("images")?;
    Ok(monitoring::ensure()?.programs)
}

/// What `cargo xtask test` does: the everyday cases on every everyday platform.
///
/// # Errors
/// As [`main`].
pub(crate) fn test() -> Result<()> {
    let plan = |platform: &Platform| {
        let more = EVERYDAY_ON.iter().filter(|(name, _)| *name == platform.name);
        let cases = EVERYDAY.iter().chain(more.flat_map(|(_, cases)| *cases));
        Plan {
            cases: cases.map(ToString::to_string).collect(),
            ..everything()
        }
    };
    run_all(&platform::everyday(), plan)
}

/// What memmon is for, told while it happens: `cargo xtask run` where the agent cannot run.
///
/// # Errors
/// As [`main`].
pub(crate) fn story() -> Result<()> {
    let plan = Plan {
        cases: vec!["job.memory-reclaim".to_owned()],
        ..everything()
    };
    run_all(&[platform::named("trixie")?], |_| plan.clone())
}

fn everything() -> Plan {
    Plan {
        cases: Vec::new(),
        deadline: Duration::from_secs(DEADLINE),
        soak_minutes: None,
    }
}

fn platforms(names: &[String]) -> Result<Vec<&'static Platform>> {
    if names.is_empty() {
        return Ok(platform::everyday());
    }
    names.iter().map(|name| platform::named(name)).collect()
}

/// The platform's kernel and root image, made if necessary.
fn images(platform: &Platform, refresh: bool) -> Result<(Kernel, PathBuf)> {
    require_host_programs()?;
    let _lock = cache::lock("images")?;
    Ok((kernel::ensure(platform, refresh)?, rootfs::ensure(platform.root)?))
}

fn require_host_programs() -> Result<()> {
    let missing: Vec<_> = HOST_PROGRAMS
        .iter()
        .filter(|(program, _)| !in_path(program))
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        bail!(
            "missing packages: {} (`cargo xtask setup` installs them)",
            missing.join(" ")
        );
    }
    Ok(())
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    // Where a user's PATH lacks them.
    found || Path::new("/usr/sbin").join(program).is_file()
}

/// Every platform, also after one that failed: one run shows everything.
fn run_all(platforms: &[&'static Platform], plan: impl Fn(&Platform) -> Plan) -> Result<()> {
    let mut ready = Vec::new();
    for platform in platforms {
        ready.push((*platform, images(platform, false)?, plan(platform)));
    }
    let binaries = {
        // Two runs at a time would pack into the same directory.
        let _lock = cache::lock("payload")?;
        payload::build()?
    };
    web::driver()?;
    // Where most is to be done begins.
    ready.sort_by_key(|(_, _, plan)| plan.cases.len());
    let queue = Mutex::new(ready);
    let lanes = LANES.len().min(platforms.len());
    let results: Vec<Result<Vec<Summary>>> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes)
            .map(|_| scope.spawn(|| lane(&queue, &binaries)))
            .collect();
        let join = |lane: thread::ScopedJoinHandle<'_, _>| {
            lane.join()
                .unwrap_or_else(|_| Err(anyhow!("a virtual machine's thread panicked")))
        };
        lanes.into_iter().map(join).collect()
    });
    let mut failed = Vec::new();
    for summary in results.into_iter().collect::<Result<Vec<_>>>()?.concat() {
        print(&summary);
        if !summary.problems.is_empty() {
            failed.push(summary.platform);
        }
    }
    if !failed.is_empty() {
        bail!("virtual machines failed: {}", failed.join(", "));
    }
    Ok(())
}

type Ready = (&'static Platform, (Kernel, PathBuf), Plan);

/// Takes platforms from the end of the queue until it is empty.
fn lane(queue: &Mutex<Vec<Ready>>, binaries: &Path) -> Result<Vec<Summary>> {
    let mut summaries = Vec::new();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some((platform, (kernel, root), plan)) = next else {
            return Ok(summaries);
        };
        let _lock = cache::lock_one_of(LANES)?;
        summaries.push(run::run(platform, &kernel, &root, binaries, &plan)?);
    }
}

fn print(summary: &Summary) {
    let verdict = if summary.problems.is_empty() {
        "passed"
    } else {
        "FAILED"
    };
    println!(
        "vm: {} ({}): {verdict}; {} ok, {} skipped, {} problems, {:.0} s",
        summary.platform,
        summary.release,
        summary.passed,
        summary.skipped.len(),
        summary.problems.len(),
        summary.seconds
    );
    for (case, reason) in &summary.skipped {
        println!("vm:   skipped {case}: {reason}");
    }
    for problem in &summary.problems {
        println!("vm:   problem: {problem}");
    }
}
