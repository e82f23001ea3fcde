//! The host, the agent and what is wrong, in a few lines.

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use crate::export::top::{
    document::{Agent, Psi, Report, Severity, System},
    look::Look,
    model::{Model, Moment},
    rates::Rate,
    text,
};

/// Lines that a terminal of this height has for alarms.
const fn alarm_lines(height: usize) -> usize {
    match height {
        0..=19 => 1,
        20..=35 => 3,
        _ => 6,
    }
}

pub(super) fn lines(model: &Model, width: usize, height: usize, now: &Moment) -> Vec<Line<'static>> {
    let mut lines = vec![title(model, width, now)];
    if let Some(report) = &model.report {
        lines.push(gauges(model.look, &report.system, width));
        lines.push(swapping(model, report, width, now));
        lines.push(state(model, report, width));
    }
    lines.extend(
        trouble(model, now)
            .into_iter()
            .map(|text| Line::styled(text::fit(&text, width, model.look.cut()), model.look.trouble())),
    );
    if let Some(report) = &model.report {
        lines.extend(alarms(model.look, report, width, alarm_lines(height)));
    }
    lines
}

fn title(model: &Model, width: usize, now: &Moment) -> Line<'static> {
    let mut left = format!("memmon top, {}", model.host.as_str());
    if let Some(report) = &model.report {
        left += &match &report.agent {
            Some(agent) => format!(", {}", about(agent, report, now)),
            None => ", counted by this program itself".to_owned(),
        };
    }
    let paused = if model.paused { "PAUSED " } else { "" };
    let right = format!(" {paused}{} UTC", now.time_of_day);
    let room = width.saturating_sub(text::width(&right));
    let left = text::fit(&left, room, model.look.cut());
    Line::styled(left + &right, Look::title())
}

fn about(agent: &Agent, report: &Report, now: &Moment) -> String {
    let up = now
        .since(&agent.since)
        .map(|up| format!(" for {}", text::span(up.as_secs())));
    let dry = if agent.dry_run { ", dry run" } else { "" };
    format!(
        "agent {}{}{dry}, attribution {}",
        agent.version.as_str(),
        up.unwrap_or_default(),
        report.attribution.as_str()
    )
}

/// RAM, swap and the host's pressure.
fn gauges(look: Look, system: &System, width: usize) -> Line<'static> {
    let psi = system.psi.map_or_else(|| "PSI n/a".to_owned(), psi);
    // "RAM [", "] 100 %  swap [", "] 100 %  " and the pressure.
    let bar = width.saturating_sub(34 + psi.len()).clamp(10, 60) / 2;
    let ram = format!(
        "RAM [{}] {:>5}",
        look.bar(system.ram_used, bar),
        text::percent(system.ram_used)
    );
    let swap = match system.swap_used {
        None => "  no swap set up".to_owned(),
        Some(used) => format!("  swap [{}] {:>5}", look.bar(used, bar), text::percent(used)),
    };
    let swap_style = if system.swap_high {
        look.level("high")
    } else {
        Style::new()
    };
    Line::from(vec![
        Span::styled(ram, look.level(system.situation.as_str())),
        Span::styled(swap, swap_style),
        Span::raw(format!("  {psi}")),
    ])
}

fn psi(psi: Psi) -> String {
    format!("PSI some {:.1} full {:.1} %", psi.some.avg10, psi.full.avg10)
}

fn swapping(model: &Model, report: &Report, width: usize, now: &Moment) -> Line<'static> {
    let rate = match model.rates.total {
        Rate::Is(rate) => format!("{} pages/s", text::rate(rate)),
        Rate::Later => "-".to_owned(),
        Rate::Unknown => "n/a".to_owned(),
    };
    let text = format!("swapped out: {rate}  ");
    let history = model
        .rates
        .history
        .rates(now.up, width.saturating_sub(text.len()).min(120));
    let mut line: String = history.into_iter().map(|rate| model.look.spark(rate)).collect();
    if report.blame.is_none() {
        line = "nobody counts".to_owned();
    }
    Line::raw(text + line.trim_start())
}

/// Situation, alarms, leases, and what the agent has lost.
fn state(model: &Model, report: &Report, width: usize) -> Line<'static> {
    let look = model.look;
    let system = &report.system;
    let high = if system.swap_high { ", swap high" } else { "" };
    let mut spans = vec![
        Span::raw("situation "),
        Span::styled(
            format!("{}{high}", system.situation.as_str()),
            look.level(system.situation.as_str()),
        ),
        Span::raw("  "),
    ];
    match &report.alarms {
        None => spans.push(Span::raw("no alarms without an agent")),
        Some(alarms) if alarms.is_empty() => spans.push(Span::raw("no alarm")),
        Some(alarms) => {
            let worst = alarms
                .iter()
                .map(|alarm| alarm.severity)
                .max()
                .unwrap_or(Severity::Warning);
            spans.push(Span::styled(counted(alarms.len(), "ALARM"), look.alarm(worst)));
        }
    }
    spans.push(Span::raw(format!("  {}", counted(report.leases(), "lease"))));
    let acting = report
        .strategies
        .iter()
        .filter(|strategy| strategy.action.as_str() != "none")
        .count();
    if acting > 0 {
        spans.push(Span::raw(format!("  strategies {acting} (view 2)")));
    }
    if model.held() > 0 {
        spans.push(Span::raw(format!(
            "  {} since the pause",
            counted(model.held(), "event")
        )));
    }
    let lost: u64 = report
        .agent
        .iter()
        .flat_map(|agent| agent.events_lost.values())
        .sum();
    if lost > 0 {
        spans.push(Span::raw(format!("  lost {}", text::count(lost))));
    }
    let mut line = Line::from(spans);
    if line.width() > width {
        line.spans.pop();
    }
    line
}

fn counted(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ if what == "ALARM" => format!("{number} ALARMS"),
        _ => format!("{number} {what}s"),
    }
}

/// Why what is on the screen is not what it should be.
fn trouble(model: &Model, now: &Moment) -> Vec<String> {
    let mut lines = Vec::new();
    match (&model.lost, model.overdue(now)) {
        (Some((since, why)), _) if model.report.is_some() => {
            let gone = text::span(now.up.saturating_sub(since.up).as_secs());
            lines.push(format!("! NO REPORT for {gone}, trying again: {}", why.as_str()));
        }
        (None, Some(age)) => {
            lines.push(format!(
                "! the agent has not answered for {}",
                text::span(age.as_secs())
            ));
        }
        _ => {}
    }
    let Some(report) = &model.report else { return lines };
    if report.agent.is_none() {
        lines.push("! no agent runs: nothing is protected (systemctl start memmon.service)".to_owned());
    }
    let reasons = report.agent.iter().flat_map(|agent| &agent.degraded);
    let mut reasons = reasons.map(|reason| format!("! degraded: {}", reason.as_str()));
    lines.extend(reasons.next());
    let more = reasons.count();
    if more > 0 {
        lines.push(format!("! and {more} more: memmon status"));
    }
    lines
}

fn alarms(look: Look, report: &Report, width: usize, most: usize) -> Vec<Line<'static>> {
    let mut alarms: Vec<_> = report.alarms.iter().flatten().collect();
    // Worst first, then newest.
    alarms.sort_by(|a, b| (b.severity, &b.since).cmp(&(a.severity, &a.since)));
    let shown = if alarms.len() > most {
        most - 1
    } else {
        alarms.len()
    };
    let mut lines: Vec<Line<'static>> = alarms
        .iter()
        .take(shown)
        .map(|alarm| {
            let region = alarm
                .region
                .as_ref()
                .map(|region| format!(" ({})", region.as_str()));
            let text = format!(
                "! {} {}{} {}: {}",
                alarm.severity.as_str().to_uppercase(),
                alarm.unit.as_str(),
                region.unwrap_or_default(),
                text::time_of_day(alarm.since.as_str()),
                alarm.reason.as_str()
            );
            Line::styled(text::fit(&text, width, look.cut()), look.alarm(alarm.severity))
        })
        .collect();
    if shown < alarms.len() {
        let worst = alarms[shown].severity;
        let text = format!("! and {} more", counted(alarms.len() - shown, "ALARM"));
        lines.push(Line::styled(text, look.alarm(worst)));
    }
    lines
}
