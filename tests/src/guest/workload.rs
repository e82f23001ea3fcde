//! Units whose memory a case controls: `memmon-workload` behind a socket.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{Ctx, units::Unit};
use crate::workload::{Fill, Kind, Range};

/// Where the sockets are.
const DIRECTORY: &str = "/run/memmon-test";

/// What a unit should hold.
#[derive(Clone, Copy, Debug)]
pub struct Hold<'a> {
    /// MiB, all of it filled before the unit counts as started.
    pub mib: u64,
    /// What is in it.
    pub fill: Fill,
    /// What kind of memory it is.
    pub kind: Kind,
    /// Further lines of the unit's `[Service]` section: `MemoryMax=64M`.
    pub service: &'a str,
}

impl Hold<'_> {
    /// So many MiB of private anonymous memory, incompressible, in a unit without limits.
    pub fn mib(mib: u64) -> Self {
        Self {
            mib,
            fill: Fill::Random,
            kind: Kind::Anon,
            service: "",
        }
    }

    /// How many pages it is.
    pub fn pages(&self) -> u64 {
        self.mib << 20 >> 12
    }
}

/// A unit that holds memory and does as it is told.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The unit.
    pub unit: Unit,
    socket: PathBuf,
}

impl Workload {
    /// Where the memory is, in the main process.
    ///
    /// # Errors
    /// If the unit does not answer.
    pub fn range(&self) -> Result<Range> {
        let answer = self.tell("range")?;
        answer
            .parse()
            .with_context(|| format!("the answer to range: {answer:?}"))
    }

    /// Sends a command (see `crate::workload::control`) and returns the answer, once it is carried out.
    ///
    /// # Errors
    /// If the unit does not answer or refuses.
    pub fn tell(&self, command: &str) -> Result<String> {
        tell(&self.socket, command)
    }
}

/// As [`Workload::tell`], to whoever listens at `socket`.
///
/// # Errors
/// If nobody answers, or refuses.
pub fn tell(socket: &Path, command: &str) -> Result<String> {
    let name = socket.display();
    let mut stream = UnixStream::connect(socket).with_context(|| format!("connecting to {name}"))?;
    writeln!(stream, "{command}").context("sending a command")?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .context("reading an answer")?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", rest)) => Ok(rest.to_owned()),
        _ if answer.trim_end() == "ok" => Ok(String::new()),
        _ => bail!("{name} to {command:?}: {answer:?}"),
    }
}

impl Ctx {
    /// Starts a unit that holds memory, from a unit file; it is gone after the case.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn workload(&self, name: &str, hold: &Hold<'_>) -> Result<Workload> {
        let workload = self.workload_file(name, hold)?;
        workload.unit.start()?;
        Ok(workload)
    }

    /// As [`Ctx::workload`], without starting it.
    ///
    /// # Errors
    /// If the unit file cannot be written.
    pub fn workload_file(&self, name: &str, hold: &Hold<'_>) -> Result<Workload> {
        let command = self.hold_command(name, hold)?;
        let content = format!(
            "[Unit]\nDescription=Holds memory\n[Service]\nType=notify\nExecStart={}\n{}\n",
            command.join(" "),
            hold.service
        );
        Ok(Workload {
            unit: self.unit_file(name, &content)?,
            socket: socket(name),
        })
    }

    /// As [`Ctx::workload`], as a transient unit; `hold.service` holds one `Name=value` per line.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn transient_workload(&self, name: &str, hold: &Hold<'_>) -> Result<Workload> {
        let command = self.hold_command(name, hold)?;
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut properties = vec!["Type=notify"];
        properties.extend(hold.service.lines());
        Ok(Workload {
            unit: self.transient_unit(name, &properties, &command)?,
            socket: socket(name),
        })
    }

    fn hold_command(&self, name: &str, hold: &Hold<'_>) -> Result<Vec<String>> {
        fs::create_dir_all(DIRECTORY).with_context(|| format!("creating {DIRECTORY}"))?;
        let words = [
            "/usr/bin/memmon-workload".to_owned(),
            "hold".to_owned(),
            format!("--mib={}", hold.mib),
            format!("--fill={}", hold.fill),
            format!("--kind={}", hold.kind),
            format!("--control={}", socket(name).display()),
        ];
        Ok(words.into())
    }
}

fn socket(unit: &str) -> PathBuf {
    PathBuf::from(DIRECTORY).join(format!("{unit}.sock"))
}
