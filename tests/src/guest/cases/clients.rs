//! The client libraries' example services against the real agent, as ordinary users' services.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use memmon::decode::MemInfo;
use serde::Deserialize;

use crate::{
    guest::{
        Case, Ctx, Outcome,
        agent::{Agent, Setup, push_out, report, wait_on_bus},
        pagemap, shell,
        undo::Undo,
        units::Unit,
        workload::{Hold, tell},
    },
    workload::Range,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "clients.python",
        run: |ctx| lives(ctx, &PYTHON),
        seconds: 240,
    },
    Case {
        name: "clients.rust",
        run: |ctx| lives(ctx, &RUST),
        seconds: 240,
    },
    Case {
        name: "clients.memory-max",
        run: memory_max,
        seconds: 180,
    },
    Case {
        name: "clients.release-request",
        run: release_request,
        seconds: 240,
    },
    Case {
        name: "clients.checks",
        run: checks,
        seconds: 240,
    },
];

const PAGE: u64 = 4096;
/// What the example protects from its start.
const INDEX: &str = "index";
const UNLIMITED: &str = "LimitMEMLOCK=infinity";
const DBUS: &str = "dbus.service";

/// A language's example.
struct Example {
    name: &'static str,
    /// Without the socket, which comes last.
    command: &'static str,
    /// Behind the socket, for a model of 36 MiB.
    large: &'static str,
    environment: &'static str,
}

const PYTHON: Example = Example {
    name: "python",
    command: "/usr/bin/python3 /opt/memmon/python/service.py --mib 4 --idle 3600 --socket",
    large: "--mib 36",
    environment: "PYTHONPATH=/opt/memmon/python PYTHONDONTWRITEBYTECODE=1",
};
const RUST: Example = Example {
    name: "rust",
    command: "/opt/memmon/bin/memmon-example-service",
    large: "36 3600",
    environment: "",
};

/// A running example.
struct Service {
    unit: Unit,
    socket: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Status {
    pid: u32,
    /// How often it was asked for memory.
    released: u64,
    guards: Vec<Guard>,
}

#[derive(Debug, Deserialize)]
struct Guard {
    label: String,
    /// Addresses of the first byte and the byte after the last.
    ranges: Vec<(u64, u64)>,
    locked: bool,
    tagged: bool,
    refused: Vec<String>,
}

impl Status {
    /// Pages per label, each once.
    fn pages(&self) -> BTreeMap<&str, u64> {
        let mut pages: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for guard in &self.guards {
            let addresses = guard
                .ranges
                .iter()
                .flat_map(|(start, end)| start / PAGE..end / PAGE);
            pages.entry(&guard.label).or_default().extend(addresses);
        }
        pages
            .into_iter()
            .map(|(label, pages)| (label, pages.len() as u64))
            .collect()
    }

    /// How many protected pages are in swap.
    fn swapped(&self) -> Result<usize> {
        let mut found = BTreeSet::new();
        for (start, end) in self.guards.iter().flat_map(|guard| &guard.ranges) {
            let range = Range {
                start: *start,
                length: end - start,
            };
            found.extend(pagemap::swapped(self.pid, range)?);
        }
        Ok(found.len())
    }

    fn all_tagged(&self) -> bool {
        self.guards.iter().all(|guard| guard.tagged)
    }
}

impl Service {
    fn tell(&self, request: &str) -> Result<String> {
        tell(&self.socket, request).with_context(|| format!("asking {}", self.unit.name()))
    }

    fn status(&self) -> Result<Status> {
        let text = self.tell("status")?;
        serde_json::from_str(&text).with_context(|| format!("the status {text:?}"))
    }

    fn wait_tagged(&self, ctx: &Ctx) -> Result<Status> {
        ctx.wait("all is tagged", || {
            let status = self.status()?;
            Ok(status.all_tagged().then_some(status))
        })
    }
}

impl Ctx {
    /// With lines for its `[Service]` section, and arguments behind the socket.
    fn example(&self, example: &Example, suffix: &str, service: &str, arguments: &str) -> Result<Service> {
        let name = format!("client-{}-{suffix}", example.name);
        let socket = PathBuf::from(format!("/run/{name}/socket"));
        let content = format!(
            "[Unit]\nDescription=Example of a client\n[Service]\nType=notify\nUser=nobody\nRuntimeDirectory={name}\n\
             {service}\nEnvironment={}\nExecStart={} {} {arguments}\n",
            example.environment,
            example.command,
            socket.display()
        );
        let unit = self.unit_file(&format!("{name}.service"), &content)?;
        unit.start()?;
        Ok(Service { unit, socket })
    }
}

/// Locked without an agent; registered once there is one, and again after it was killed; not swapped by a reclaim of
/// everything. Without a right to lock: registered, swapped, and the agent counts it. Gone with the process.
fn lives(ctx: &mut Ctx, example: &Example) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let service = ctx.example(example, "locked", UNLIMITED, "")?;
    for text in 0..5 {
        service.tell(&format!("embed {text}"))?;
    }
    let status = service.status()?;
    ensure!(
        status.guards.iter().all(|guard| guard.locked),
        "not locked: {status:?}"
    );
    let why = ctx.wait("it says that there is no agent", || {
        Ok(service
            .status()?
            .guards
            .into_iter()
            .find_map(|guard| guard.refused.into_iter().next()))
    })?;
    ensure!(why.contains("no memmon agent is running"), "{why}");
    ctx.say("locked without an agent, and said so")?;

    let agent = ctx.agent(&Setup::default())?;
    wait_on_bus(ctx)?;
    let status = service.wait_tagged(ctx)?;
    require_known(ctx, &status)?;
    killed(ctx, &agent, &service)?;
    ctx.say("registered, and again after the agent was killed")?;
    bus_killed(ctx, &agent, &service)?;
    ctx.say("the bus was killed: registered again, and nothing twice")?;

    push_out(&service.unit.cgroup()?)?;
    let status = service.status()?;
    let swapped = status.swapped()?;
    ensure!(swapped == 0, "{swapped} locked pages are in swap");
    ensure!(
        status.guards.iter().all(|guard| guard.locked),
        "not locked any more: {status:?}"
    );
    ensure!(service.tell("verify")? == "intact", "the model is damaged");

    let unlocked = unlocked(ctx, example)?;
    service.unit.stop()?;
    ctx.wait("its tags are gone", || {
        Ok(known(status.pid)?.is_empty().then_some(()))
    })?;
    agent.stop()?;
    let pages: u64 = status.pages().values().sum();
    Outcome::passed(format!("{pages} locked pages stayed in RAM; {unlocked}"))
}

fn killed(ctx: &Ctx, agent: &Agent, service: &Service) -> Result<()> {
    let before = agent.unit.main_pid()?;
    agent.unit.kill("KILL")?;
    ctx.wait("systemd has started it again", || {
        let pid: u32 = agent.unit.property("MainPID")?.parse()?;
        Ok((pid != 0 && pid != before).then_some(()))
    })?;
    wait_on_bus(ctx)?;
    ctx.wait("the new agent knows everything", || {
        let status = service.status()?;
        Ok((status.all_tagged() && known(status.pid)? == owned(&status)).then_some(()))
    })
}

/// The agent outlives its bus with all tags: what is let go afterwards must not stay registered.
fn bus_killed(ctx: &Ctx, agent: &Agent, service: &Service) -> Result<()> {
    let before = agent.unit.main_pid()?;
    for _ in 0..2 {
        Unit::named(DBUS).kill("KILL")?;
        wait_on_bus(ctx)?;
        ctx.wait("the client has noticed and is back", || {
            let status = service.status()?;
            Ok((status.all_tagged() && known(status.pid)? == owned(&status)).then_some(()))
        })?;
    }
    ensure!(
        agent.unit.main_pid()? == before,
        "the agent has not outlived its bus"
    );
    service.tell("clear")?;
    let status = service.status()?;
    ensure!(
        status.pages().keys().eq([&INDEX]),
        "more than the index: {status:?}"
    );
    require_known(ctx, &status)?;
    for text in 100..105 {
        service.tell(&format!("embed {text}"))?;
    }
    let status = service.wait_tagged(ctx)?;
    require_known(ctx, &status)
}

/// What would leave too little of `MemoryMax=` is not locked, and the service lives.
fn memory_max(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let mut said = String::new();
    for example in [&PYTHON, &RUST] {
        let limits = format!("{UNLIMITED}\nMemoryMax=48M");
        let service = ctx.example(example, "limited", &limits, example.large)?;
        service.tell("embed a")?;
        let status = service.status()?;
        let model = status.guards.iter().find(|guard| guard.label == "model");
        let model = model.context("the model is not in use")?;
        ensure!(!model.locked, "36 of 48 MiB are locked: {model:?}");
        let why = model.refused.iter().find(|why| why.contains("memory.max of /"));
        said.clone_from(why.with_context(|| format!("not refused for the limit: {model:?}"))?);
        ctx.say(&said)?;
        let cgroup = service.unit.cgroup()?;
        let locked = cgroup.read("memory.stat")?;
        let locked = locked.lines().find_map(|line| line.strip_prefix("unevictable "));
        let locked: u64 = locked.context("no unevictable")?.parse()?;
        ensure!(locked <= 32 << 20, "{locked} bytes are locked");
        push_out(&cgroup)?;
        ensure!(service.tell("verify")? == "intact", "the model is damaged");
        let events = cgroup.read("memory.events")?;
        ensure!(events.contains("oom_kill 0"), "{events}");
        service.unit.stop()?;
    }
    Outcome::passed(said)
}

/// The agent asks a low unit for memory before it takes any, and the client hears it.
fn release_request(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_disk()?;
    // Pressure would be a reason to release as well: here only the agent asks.
    let service = format!("{UNLIMITED}\nEnvironment=MEMORY_PRESSURE_WATCH=/dev/null");
    let mut services = Vec::new();
    for example in [&PYTHON, &RUST] {
        let service = ctx.example(example, "asked", &service, "")?;
        service.tell("embed a")?;
        services.push(service);
    }
    let agent = ctx.agent_installed(&Setup {
        service: Setup::EVERY_SECOND,
        ..Setup::default()
    })?;
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let used = MemInfo::parse(&text).context("parsing /proc/meminfo")?.ram_used();
    let units: String = services
        .iter()
        .map(|service| format!("\"{}\" = \"low\"\n", service.unit.name()))
        .collect();
    ctx.undo().note(&Undo::Remove("/var/lib/memmon".into()))?;
    ctx.agent_config(&format!(
        "[units]\n{units}\"client-load.service\" = \"critical\"\n[thresholds]\nram_high = {:.3}\n\
         ram_critical = {:.3}\nhysteresis = 0.02\ndwell = \"1s\"\n[strategies]\ngrace = \"2s\"\ncool_down = \"3s\"\n",
        // Above what the agent's own start takes.
        used + 0.10,
        used + 0.15
    ))?;
    agent.unit.start()?;
    wait_on_bus(ctx)?;
    for service in &services {
        service.wait_tagged(ctx)?;
        ensure!(service.status()?.released == 0, "asked before anything was short");
    }
    let load = ctx.workload("client-load.service", &Hold::mib(176))?;
    for service in &services {
        ctx.wait(&format!("{} is asked", service.unit.name()), || {
            Ok((service.status()?.released > 0).then_some(()))
        })?;
    }
    let journal = services[0].unit.journal()?;
    let asked = journal.lines().find(|line| line.contains("asked to release"));
    let asked = asked.with_context(|| format!("not in the journal: {journal}"))?;
    ensure!(asked.ends_with(" bytes"), "{asked}");
    let said = asked.split(": ").last().unwrap_or_default().to_owned();
    load.unit.stop()?;
    agent.stop()?;
    Outcome::passed(said)
}

/// What the Python client's own tests can only show of an agent that keeps books.
fn checks(ctx: &mut Ctx) -> Result<Outcome> {
    let agent = ctx.agent(&Setup::default())?;
    wait_on_bus(ctx)?;
    let said = shell::run(
        "env",
        &[
            "PYTHONPATH=/opt/memmon/python",
            "PYTHONDONTWRITEBYTECODE=1",
            "python3",
            "/opt/memmon/python/real_agent.py",
        ],
    )?;
    agent.stop()?;
    Outcome::passed(said.lines().collect::<Vec<_>>().join(", "))
}

/// Registered but not locked, its pages go to swap, and the agent counts them.
fn unlocked(ctx: &Ctx, example: &Example) -> Result<String> {
    let service = ctx.example(example, "unlocked", "LimitMEMLOCK=0", "")?;
    service.tell("embed a")?;
    let status = service.wait_tagged(ctx)?;
    let refused = |guard: &Guard| {
        let named = |why: &String| why.contains("RLIMIT_MEMLOCK");
        !guard.locked && guard.refused.iter().any(named)
    };
    ensure!(status.guards.iter().all(refused), "{status:?}");
    require_known(ctx, &status)?;
    push_out(&service.unit.cgroup()?)?;
    let swapped = status.swapped()?;
    ensure!(swapped > 0, "nothing of it was swapped");
    let regions = report()?["regions"].as_array().cloned().unwrap_or_default();
    let index = regions
        .iter()
        .find(|region| region["pid"] == status.pid && region["label"] == INDEX)
        .context("the index is not in the report")?;
    ensure!(service.tell("verify")? == "intact", "the model is damaged");
    ensure!(
        !index["swapout_pages"].is_null(),
        "the agent counts no hits of regions: {index}"
    );
    let counted = ctx.wait("the agent counts hits", || {
        let regions = report()?["regions"].as_array().cloned().unwrap_or_default();
        let ours = regions.iter().filter(|region| region["pid"] == status.pid);
        let hits: u64 = ours.filter_map(|region| region["swapout_pages"].as_u64()).sum();
        Ok((hits > 0).then_some(hits))
    })?;
    Ok(format!(
        "{swapped} unlocked ones did not, and the agent counted {counted}"
    ))
}

fn require_known(ctx: &Ctx, status: &Status) -> Result<()> {
    let mut last = BTreeMap::new();
    let found = ctx.wait("the agent knows every page", || {
        last = known(status.pid)?;
        Ok((last == owned(status)).then_some(()))
    });
    found.with_context(|| format!("{last:?} instead of {:?}", status.pages()))
}

fn owned(status: &Status) -> BTreeMap<String, u64> {
    let pages = status.pages().into_iter();
    pages.map(|(label, pages)| (label.to_owned(), pages)).collect()
}

/// Pages per label that the agent knows of a process.
fn known(pid: u32) -> Result<BTreeMap<String, u64>> {
    let report = report()?;
    let mut pages = BTreeMap::new();
    for region in report["regions"].as_array().context("no regions in the report")? {
        if region["pid"] == pid {
            let label = region["label"].as_str().context("a label")?;
            *pages.entry(label.to_owned()).or_default() += region["pages"].as_u64().context("pages")?;
        }
    }
    Ok(pages)
}
