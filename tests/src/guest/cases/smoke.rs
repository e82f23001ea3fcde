//! The machine is what the other cases take it for.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::guest::{
    Case, Ctx, Outcome, cgroup::Cgroup, memory_stat, pagemap, shell, vmstat::Vmstat, workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "smoke.pid1",
        run: pid1,
        seconds: 60,
    },
    Case {
        name: "smoke.kernel",
        run: kernel,
        seconds: 60,
    },
    Case {
        name: "smoke.cgroup2",
        run: cgroup2,
        seconds: 60,
    },
    Case {
        name: "smoke.btf",
        run: btf,
        seconds: 60,
    },
    Case {
        name: "smoke.reclaim-swaps",
        run: reclaim_swaps,
        seconds: 120,
    },
    Case {
        name: "smoke.disk-swap",
        run: disk_swap,
        seconds: 120,
    },
];

fn pid1(ctx: &mut Ctx) -> Result<Outcome> {
    let name = fs::read_to_string("/proc/1/comm").context("reading /proc/1/comm")?;
    ensure!(name.trim() == "systemd", "PID 1 is {name:?}");
    let shown = shell::run("systemctl", &["--version"])?;
    let version: u32 = shown
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("systemctl --version said {shown:?}"))?;
    let expected = match ctx.run.root.as_str() {
        "bookworm" => 252,
        "trixie" => 257,
        other => bail!("no systemd version is known for {other}"),
    };
    ensure!(
        version == expected,
        "systemd {version} on {}, not {expected}",
        ctx.run.root
    );
    Outcome::passed(format!("systemd {version}"))
}

fn kernel(ctx: &mut Ctx) -> Result<Outcome> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("reading osrelease")?;
    let release = release.trim();
    ensure!(
        release == ctx.run.release,
        "{release} runs, not {}",
        ctx.run.release
    );
    Outcome::passed(release)
}

fn cgroup2(_: &mut Ctx) -> Result<Outcome> {
    let root = Cgroup::named("/");
    let controllers = root.read("cgroup.controllers")?;
    ensure!(
        controllers.split_whitespace().any(|name| name == "memory"),
        "no memory controller: {controllers}"
    );
    // The file that every limit of memmon is written to.
    let slice = Cgroup::named("/system.slice");
    let limit = slice.read("memory.swap.max")?;
    Outcome::passed(format!("{controllers}; system.slice: memory.swap.max {limit}"))
}

fn btf(_: &mut Ctx) -> Result<Outcome> {
    let path = "/sys/kernel/btf/vmlinux";
    let bytes = fs::read(path).with_context(|| format!("reading {path}"))?;
    // struct btf_header: magic 0xeB9F
    ensure!(
        bytes.starts_with(&[0x9f, 0xeb]),
        "{path} is not little-endian BTF"
    );
    Outcome::passed(format!("{} bytes", bytes.len()))
}

/// A unit's pages go to zram when a root shell asks for it, and the unit finds them again.
fn reclaim_swaps(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let hold = Hold::mib(16);
    let workload = ctx.workload("smoke.service", &hold)?;
    let cgroup = workload.unit.cgroup()?;
    if !cgroup.path().join("memory.reclaim").exists() {
        return Outcome::skipped("no memory.reclaim (before 6.1)");
    }
    let before = Vmstat::read()?;
    cgroup.reclaim(hold.mib << 20)?;
    let swapped = pagemap::swapped(workload.unit.main_pid()?, workload.range()?)?.len() as u64;
    let out = Vmstat::read()?.since(&before, "pswpout")?;
    ensure!(
        swapped > hold.pages() / 2,
        "only {swapped} of {} pages are swapped",
        hold.pages()
    );
    ensure!(
        out >= swapped,
        "{swapped} pages are swapped but pswpout grew by {out}"
    );
    let pages = workload.tell("verify")?;
    ensure!(pages == hold.pages().to_string(), "{pages} pages verified");
    let Some(counted) = memory_stat::settled(&cgroup, "pswpout", ctx.deadline())? else {
        return Outcome::passed(format!(
            "{swapped} swapped, {out} pswpout; no pswpout in memory.stat"
        ));
    };
    ensure!(
        counted >= swapped && counted <= out,
        "memory.stat says {counted}, not between {swapped} and {out}"
    );
    Outcome::passed(format!("{swapped} swapped, {out} pswpout, {counted} of the unit"))
}

/// The machine's empty disk takes pages too: a swap device with latency, unlike zram.
fn disk_swap(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_disk()?;
    let hold = Hold::mib(8);
    let workload = ctx.workload("smoke-disk.service", &hold)?;
    workload.tell("pageout")?;
    let pid = workload.unit.main_pid()?;
    let range = workload.range()?;
    let swapped = ctx.wait("half of the unit is swapped", || {
        let swapped = pagemap::swapped(pid, range)?.len() as u64;
        Ok((swapped > hold.pages() / 2).then_some(swapped))
    })?;
    let pages = workload.tell("verify")?;
    ensure!(pages == hold.pages().to_string(), "{pages} pages verified");
    Outcome::passed(format!("{swapped} of {} pages", hold.pages()))
}
