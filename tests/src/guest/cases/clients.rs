//! The client libraries' example services against the real agent, as ordinary users' services.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::{
    guest::{
        Case, Ctx, Outcome,
        agent::{Agent, Setup, push_out, report, wait_on_bus},
        pagemap,
        units::Unit,
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
        seconds: 180,
    },
];

const PAGE: u64 = 4096;
/// What the example protects from its start.
const INDEX: &str = "index";

/// A language's example.
struct Example {
    name: &'static str,
    /// Without the socket, which comes last.
    command: &'static str,
    environment: &'static str,
}

const PYTHON: Example = Example {
    name: "python",
    command: "/usr/bin/python3 /opt/memmon/python/service.py --mib 4 --idle 3600 --socket",
    environment: "PYTHONPATH=/opt/memmon/python PYTHONDONTWRITEBYTECODE=1",
};
const RUST: Example = Example {
    name: "rust",
    command: "/opt/memmon/bin/memmon-example-service",
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
        let mut stream = UnixStream::connect(&self.socket)
            .with_context(|| format!("connecting to {}", self.socket.display()))?;
        writeln!(stream, "{request}").context("sending a request")?;
        let mut answer = String::new();
        BufReader::new(stream)
            .read_line(&mut answer)
            .context("reading an answer")?;
        match answer.trim_end().split_once(' ') {
            Some(("ok", rest)) => Ok(rest.to_owned()),
            _ => bail!("{} to {request:?}: {answer:?}", self.unit.name()),
        }
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
    fn example(&self, example: &Example, suffix: &str, mlock: &str) -> Result<Service> {
        let name = format!("client-{}-{suffix}", example.name);
        let socket = PathBuf::from(format!("/run/{name}/socket"));
        let content = format!(
            "[Unit]\nDescription=Example of a client\n[Service]\nType=notify\nUser=nobody\nRuntimeDirectory={name}\n\
             LimitMEMLOCK={mlock}\nEnvironment={}\nExecStart={} {}\n",
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
    let service = ctx.example(example, "locked", "infinity")?;
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

/// Registered but not locked, its pages go to swap, and the agent counts them.
fn unlocked(ctx: &Ctx, example: &Example) -> Result<String> {
    let service = ctx.example(example, "unlocked", "0")?;
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
