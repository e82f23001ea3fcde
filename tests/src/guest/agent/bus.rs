//! The agent as its D-Bus clients see it: `busctl` and `setpriv`, nothing of our own.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::guest::{Ctx, documents::document, shell};

const NAME: &str = "org.omnimind.memmon1";
const PATH: &str = "/org/omnimind/memmon1";
const INTERFACE: &str = "org.omnimind.memmon1.Manager";

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// It succeeded.
    pub ok: bool,
    /// What busctl printed, or said.
    pub text: String,
}

/// Has the bus read its policy again.
///
/// # Errors
/// If it does not answer.
pub(super) fn reload() -> Result<()> {
    let bus = "org.freedesktop.DBus";
    shell::run(
        "busctl",
        &["call", bus, "/org/freedesktop/DBus", bus, "ReloadConfig"],
    )
    .map(drop)
}

/// Calls a method as root; `arguments` are a signature and values as busctl takes them.
///
/// # Errors
/// If the call fails.
pub fn call(method: &str, arguments: &[&str]) -> Result<String> {
    let mut words = vec!["call", NAME, PATH, INTERFACE, method];
    words.extend(arguments);
    shell::run("busctl", &words)
}

/// Calls a method as another user, from a process of that user's own.
///
/// # Errors
/// If the programs cannot be started.
pub fn as_user(uid: u32, method: &str, arguments: &[&str]) -> Result<Called> {
    let output = Command::new("setpriv")
        .args([
            &format!("--reuid={uid}"),
            "--clear-groups",
            "--",
            "busctl",
            "call",
            NAME,
            PATH,
            INTERFACE,
        ])
        .arg(method)
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .context("starting setpriv")?;
    let said = [output.stdout, output.stderr].concat();
    Ok(Called {
        ok: output.status.success(),
        text: String::from_utf8_lossy(&said).trim_end().to_owned(),
    })
}

/// The agent's report.
///
/// # Errors
/// If it does not answer, or not with JSON.
pub fn report() -> Result<Value> {
    let text = shell::run("memmon", &["report", "--json"])?;
    let report = document("memmon.report/1", &text)?;
    ensure!(
        !report["agent"].is_null(),
        "the report is not the agent's: {report}"
    );
    Ok(report)
}

/// Waits until the agent has its name.
///
/// # Errors
/// If it does not get it.
pub fn wait_on_bus(ctx: &Ctx) -> Result<()> {
    ctx.wait("the agent is on the bus", || {
        let status = Command::new("busctl").args(["status", NAME]).output()?.status;
        Ok(status.success().then_some(()))
    })
}
