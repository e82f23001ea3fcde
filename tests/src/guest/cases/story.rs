//! The whole story, told by everybody who tells it, from the installed package.

use std::{
    fs,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use memmon::export::journal::Message;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{SwapLimit, push_out, report, wait_on_bus},
    http,
    package::CONFIG,
    workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[Case {
    name: "story.everywhere",
    run: everywhere,
    seconds: 400,
}];

/// An alarm is in the journal, in the report over D-Bus, in `memmon top`, on the page in a browser, among the metrics, in Prometheus, fires there, and is in
/// Alertmanager twice: from Prometheus' rule and from memmon itself. All of it ends.
fn everywhere(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let workload = ctx.workload("told.service", &Hold::mib(16))?;
    let unit = &workload.unit;
    let agent = ctx.agent_of_package()?;
    ctx.install_package(1)?;
    let config = "[units]\n\"told.service\" = \"critical\"\n[reaction]\nhold = \"20s\"\n\
                  [http]\npage = true\n\
                  [alerts]\nalertmanager = [\"http://127.0.0.1:9093\"]\n";
    fs::write(CONFIG, config).with_context(|| format!("writing {CONFIG}"))?;
    agent.unit.restart()?;
    wait_on_bus(ctx)?;
    let monitoring = ctx.monitoring()?;
    ctx.wait("Prometheus scrapes memmon", || {
        let up = monitoring.query("up{job=\"memmon\"}")?;
        Ok(up.iter().any(|(_, value)| value == "1").then_some(()))
    })?;
    ensure!(
        monitoring.query("memmon_alarms_active")?.is_empty(),
        "an alarm before the time"
    );
    let door = ctx.door(9757)?;
    ctx.browse(unit.name())?;
    ctx.wait("a browser on the host follows the page", || {
        Ok((door.watching() > 0).then_some(()))
    })?;
    let top = ctx.terminal("memmon top")?;
    ctx.wait("memmon top shows the unit", || {
        let shown = top.shown()?;
        Ok((shown.contains(unit.name()) && !shown.contains("CRITICAL")).then_some(()))
    })?;
    ctx.say("Prometheus, Alertmanager and a browser know the agent; nothing is wrong")?;

    let start = Instant::now();
    // What the browser says is on the host's clock, which the machine's is set by.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    ctx.measure("pushed out at, seconds since 1970", now.as_secs_f64())?;
    let seen = |what: &str| -> Result<()> {
        let seconds = start.elapsed().as_secs_f64();
        ctx.measure(
            &format!("seconds until {what}"),
            (seconds * 100.0).round() / 100.0,
        )
    };
    push_out(&unit.cgroup()?)?;
    agent.told(ctx, Message::AlarmRaised, unit.name(), |_| true)?;
    seen("the journal")?;
    ctx.wait("the alarm is in the report", || {
        let alarms = report()?["alarms"].as_array().cloned().unwrap_or_default();
        Ok(alarms
            .iter()
            .any(|alarm| alarm["unit"] == unit.name())
            .then_some(()))
    })?;
    seen("D-Bus")?;
    ctx.wait("the alarm is in memmon top", || {
        let shown = top.shown()?;
        Ok(shown.contains("! CRITICAL told.service").then_some(()))
    })?;
    seen("memmon top")?;
    ctx.log("top", &top.shown()?)?;
    let series = "memmon_alarms_active{unit=\"told.service\",severity=\"critical\"} 1";
    ctx.wait("the alarm is among the metrics", || {
        let (_, page) = http::get(9757, "/metrics")?.context("nobody serves metrics")?;
        Ok(page.lines().any(|line| line == series).then_some(()))
    })?;
    seen("the metrics")?;
    ctx.wait("the alarm is in Alertmanager, from memmon", || {
        let alerts = monitoring.alerts(unit.name())?;
        Ok(alerts
            .iter()
            .any(|alert| alert["labels"]["job"].is_null())
            .then_some(()))
    })?;
    seen("Alertmanager, from memmon")?;
    ctx.wait("the alarm fires in Prometheus", || {
        let firing = monitoring.query("ALERTS{alertname=\"MemmonCriticalSwap\",alertstate=\"firing\"}")?;
        Ok(firing
            .iter()
            .any(|(labels, _)| labels["unit"] == unit.name())
            .then_some(()))
    })?;
    seen("Prometheus")?;
    ctx.wait("the alarm is in Alertmanager, from Prometheus", || {
        let alerts = monitoring.alerts(unit.name())?;
        Ok(alerts
            .iter()
            .any(|alert| alert["labels"]["job"] == "memmon")
            .then_some(()))
    })?;
    seen("Alertmanager, from Prometheus")?;
    for (query, what) in [
        (
            "memmon_critical_swapout_pages_total{unit=\"told.service\",region=\"untagged\"}",
            "critical pages",
        ),
        (
            "memmon_swapout_pages_total{unit=\"told.service\",kind=\"proactive\"}",
            "pages of that kind",
        ),
        (
            "memmon_leases_active{unit=\"told.service\",property=\"MemorySwapMax\"}",
            "leases",
        ),
        (
            "memmon_actions_total{unit=\"told.service\",action=\"protect\",result=\"done\"}",
            "steps",
        ),
        ("memmon_reaction_seconds_count", "reactions"),
        ("memmon_unit_memory_bytes{unit=\"told.service\"}", "bytes"),
    ] {
        let found = monitoring.query(query)?;
        let value: f64 = found
            .first()
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(0.0);
        ensure!(found.len() == 1 && value >= 1.0, "{what}: {found:?}");
    }
    ctx.say(
        "the alarm is in the journal, on D-Bus, in memmon top, among the metrics, in Prometheus, and twice in Alertmanager",
    )?;

    agent.told(ctx, Message::AlarmCleared, unit.name(), |_| true)?;
    ctx.wait_limit(unit, &SwapLimit::untouched())?;
    ctx.wait("nobody tells of the alarm any more", || {
        let alarms = report()?["alarms"].as_array().map_or(0, Vec::len);
        let metrics = monitoring.query("memmon_alarms_active")?.len();
        let alerts = monitoring.alerts(unit.name())?.len();
        let top = usize::from(top.shown()?.contains("CRITICAL"));
        Ok((alarms + metrics + alerts + top == 0).then_some(()))
    })?;
    // It goes when it has seen everything; what it did not see is the host's to tell.
    ctx.wait(
        "the browser has left",
        || Ok((door.watching() == 0).then_some(())),
    )?;
    let failed = monitoring.query("ALERTS{alertstate=\"firing\"}")?;
    ensure!(failed.is_empty(), "something else fires: {failed:?}");
    top.close()?;
    agent.stop()?;
    Outcome::passed("told in eight places, and ended in all of them")
}
