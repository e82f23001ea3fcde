//! The page of one unit.

use ratatui::{Frame, layout::Rect, text::Line};

use super::table::{self, Column, Side, known};
use crate::export::top::{
    document::{BringBack, Lease, Limit, Psi, Region, Report, Unit},
    look::Look,
    model::{Model, Moment},
    text,
};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &mut Model, now: &Moment) {
    let width = usize::from(area.width);
    let lines = match (&model.report, model.page_unit(), &model.selected) {
        (Some(report), Some(unit), _) => page(model, report, unit, width, now),
        (_, None, Some(name)) => vec![Line::raw(format!("{} has no cgroup any more", name.as_str()))],
        _ => vec![Line::raw("no unit is selected: go to view 1")],
    };
    let room = usize::from(area.height);
    // Not further than until the last line is at the bottom.
    let count = (lines.len() + 1).saturating_sub(room).max(1);
    model.page.drawn(count, room);
    let first = model.page.at;
    super::lines(frame, area, lines.into_iter().skip(first));
}

fn page(model: &Model, report: &Report, unit: &Unit, width: usize, now: &Moment) -> Vec<Line<'static>> {
    let look = model.look;
    let mut lines = facts(model, unit, width, now);
    for alarm in report.alarms_of(&unit.unit) {
        let region = alarm
            .region
            .as_ref()
            .map(|region| format!(", region {}", region.as_str()));
        let text = format!(
            "! {} since {}, {} pages{}: {}",
            alarm.severity.as_str().to_uppercase(),
            text::time_of_day(alarm.since.as_str()),
            alarm.pages,
            region.unwrap_or_default(),
            alarm.reason.as_str()
        );
        let wrapped = text::wrap(&text, width).into_iter();
        lines.extend(wrapped.map(|line| Line::styled(line, look.alarm(alarm.severity))));
    }
    for lease in unit.leases() {
        lines.extend(
            text::wrap(&self::lease(lease, now), width)
                .into_iter()
                .map(Line::raw),
        );
    }
    section(
        &mut lines,
        "WHO PUSHED ITS PAGES OUT",
        blame(model, report, unit, width),
    );
    section(&mut lines, "TAGGED REGIONS", regions(look, report, unit, width));
    section(&mut lines, "PROCESSES", processes(model, unit, width));
    lines
}

/// A section with a title; its first line are the titles of its columns.
fn section(lines: &mut Vec<Line<'static>>, title: &'static str, content: Vec<Line<'static>>) {
    lines.push(Line::raw(""));
    lines.push(Line::styled(title, Look::title()));
    lines.extend(content);
}

fn facts(model: &Model, unit: &Unit, width: usize, now: &Moment) -> Vec<Line<'static>> {
    let look = model.look;
    let rates = model.rates.unit(&unit.unit);
    let limit = |name| known(unit.limit(name), Limit::show);
    let text = |text: String| Line::raw(text::fit(&text, width, look.cut()));
    let cgroup = unit.cgroup.as_ref().map_or("no cgroup", |cgroup| cgroup.as_str());
    let mut lines = vec![
        Line::styled(
            text::fit(
                &format!("{}, {}, {cgroup}", unit.unit.as_str(), unit.priority.as_str()),
                width,
                look.cut(),
            ),
            Look::title(),
        ),
        text(format!(
            "memory {}, min={} low={} high={} max={}",
            known(unit.memory_bytes, text::size),
            limit("memory_min"),
            limit("memory_low"),
            limit("memory_high"),
            limit("memory_max"),
        )),
        text(format!(
            "swap {}, max={}",
            known(unit.swap_bytes, text::size),
            limit("swap_max")
        )),
        text(format!(
            "swapped out {} pages, {} of them while critical ({}/s), read back {} ({}/s)",
            known(unit.swapout_pages, text::count),
            known(unit.critical_pages_swapped, text::count),
            super::units::rate(rates.map(|rates| rates.out)),
            known(unit.swapin_pages, text::count),
            super::units::rate(rates.map(|rates| rates.back)),
        )),
        text(format!(
            "stalled {}, PSI {}",
            known(unit.stall_seconds, |seconds| format!("{seconds:.3} s")),
            known(unit.psi, psi),
        )),
    ];
    let title = "swap-outs, last 20 min: ";
    let columns = width.saturating_sub(title.len()).min(120);
    let minutes = columns / 6;
    let history = rates
        .map(|rates| rates.history.rates(now.up, columns))
        .unwrap_or_default();
    let spark: String = history.into_iter().map(|rate| look.spark(rate)).collect();
    lines.push(text(format!(
        "swap-outs, last {minutes} min: {}",
        spark.trim_start()
    )));
    lines
}

fn psi(psi: Psi) -> String {
    let Psi { some, full } = psi;
    format!(
        "some {:.1} {:.1} {:.1} full {:.1} {:.1} {:.1} % (10 60 300 s)",
        some.avg10, some.avg60, some.avg300, full.avg10, full.avg60, full.avg300
    )
}

fn lease(lease: &Lease, now: &Moment) -> String {
    let until = lease.deadline.as_ref().map(|deadline| {
        let clock = text::time_of_day(deadline.as_str());
        let over = now.since(deadline).is_some();
        if over {
            format!("until it is quiet (not before {clock})")
        } else {
            format!("until {clock} or later")
        }
    });
    format!(
        "LEASE {} {} -> {} {}: {}",
        lease.property.as_str(),
        known(lease.old.as_ref(), Limit::show),
        lease.new.show(),
        until.as_deref().unwrap_or("until something else ends"),
        lease.reason.as_str()
    )
}

fn blame(model: &Model, report: &Report, unit: &Unit, width: usize) -> Vec<Line<'static>> {
    let Some(blame) = &report.blame else {
        return vec![Line::raw("not known without an agent")];
    };
    let mut rows: Vec<_> = blame.iter().filter(|blame| blame.victim == unit.unit).collect();
    rows.sort_by(|a, b| b.pages.cmp(&a.pages).then_with(|| a.key().cmp(&b.key())));
    if rows.is_empty() {
        return vec![Line::raw("nobody, since the agent started")];
    }
    let line = |blame: &&super::super::document::Blame| {
        let rate = super::units::rate(Some(model.rates.blame(blame)));
        let text = format!(
            "{:>7} pages ({rate}/s) by {}",
            text::count(blame.pages),
            blame.culprit()
        );
        Line::raw(text::fit(&text, width, model.look.cut()))
    };
    rows.iter().map(line).collect()
}

fn regions(look: Look, report: &Report, unit: &Unit, width: usize) -> Vec<Line<'static>> {
    let Some(regions) = &report.regions else {
        return vec![Line::raw("not known without an agent")];
    };
    let rows: Vec<&Region> = regions.iter().filter(|region| region.unit == unit.unit).collect();
    if rows.is_empty() {
        return vec![Line::raw("none")];
    }
    let columns: [Column; 5] = [
        ("LABEL", 20, Side::Left),
        ("PID", 7, Side::Right),
        ("PAGES", 6, Side::Right),
        ("OUT", 6, Side::Right),
        ("BROUGHT BACK", width.saturating_sub(43), Side::Left),
    ];
    let mut lines = vec![table::titles(look, &columns)];
    for region in rows {
        let cells = [
            region.label.as_str().to_owned(),
            known(region.pid, |pid| pid.to_string()),
            text::count(region.pages),
            known(region.swapout_pages, text::count),
            region
                .bring_back
                .as_ref()
                .map_or_else(|| "-".to_owned(), bring_back),
        ];
        lines.push(table::row(look, &columns, &cells, ratatui::style::Style::new()));
    }
    lines
}

fn bring_back(done: &BringBack) -> String {
    let reason = done
        .reason
        .as_ref()
        .map(|reason| format!(": {}", reason.as_str()));
    format!(
        "{} of {}, {} still out{}",
        text::count(done.back_pages),
        text::count(done.asked_pages),
        text::count(done.still_out_pages),
        reason.unwrap_or_default()
    )
}

fn processes(model: &Model, unit: &Unit, width: usize) -> Vec<Line<'static>> {
    let processes = &model.processes;
    if processes.unit != unit.unit.as_str() || processes.all.is_empty() {
        return vec![Line::raw("none that can be read")];
    }
    let columns: [Column; 4] = [
        ("PID", 7, Side::Right),
        ("MEMORY", 6, Side::Right),
        ("SWAP", 6, Side::Right),
        ("NAME", width.saturating_sub(22), Side::Left),
    ];
    let mut lines = vec![table::titles(model.look, &columns)];
    for process in &processes.all {
        let cells = [
            process.pid.to_string(),
            known(process.resident, text::size),
            known(process.swap, text::size),
            process.comm.as_str().to_owned(),
        ];
        lines.push(table::row(
            model.look,
            &columns,
            &cells,
            ratatui::style::Style::new(),
        ));
    }
    if processes.cut {
        lines.push(Line::raw("and more, which were not read"));
    }
    lines
}
