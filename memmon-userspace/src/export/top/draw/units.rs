//! All units, one a line.

use ratatui::{Frame, layout::Rect, style::Style};

use super::table::{self, Column, Side, known};
use crate::export::top::{
    document::{Report, Severity, Unit},
    look::Look,
    model::{Model, Moment},
    rates::{Rate, UnitRates},
    text,
};

/// Narrower than this, less is shown of each unit.
const WIDE: usize = 110;

/// Columns of the history.
const fn history(width: usize) -> usize {
    if width >= WIDE { 18 } else { 12 }
}

fn columns(width: usize) -> Vec<Column> {
    let mut columns = vec![
        ("", 2, Side::Left),
        ("UNIT", 0, Side::Left),
        ("PRIORITY", 8, Side::Left),
        ("MEMORY", 6, Side::Right),
        ("SWAP", 5, Side::Right),
    ];
    if width >= WIDE {
        columns.push(("SWAPMAX", 7, Side::Right));
    }
    columns.push(("OUT/s", 6, Side::Right));
    if width >= WIDE {
        columns.extend([
            ("IN/s", 6, Side::Right),
            ("OUT", 6, Side::Right),
            ("CRITICAL", 8, Side::Right),
        ]);
    }
    columns.extend([("PSI %", 5, Side::Right), ("HISTORY", history(width), Side::Left)]);
    if width >= WIDE {
        columns.push(("LEASES", 14, Side::Left));
    }
    // The name takes what is left.
    let room = table::left_over(width + 1, &columns);
    if let Some(name) = columns.get_mut(1) {
        name.1 = room;
    }
    columns
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &mut Model, now: &Moment) {
    let width = usize::from(area.width);
    let room = usize::from(area.height).saturating_sub(1);
    let columns = columns(width);
    let Some(report) = &model.report else { return };
    let rows = model.rows();
    let at = rows
        .iter()
        .position(|unit| Some(&unit.unit) == model.selected.as_ref())
        .unwrap_or(0);
    let first = table::window(at, model.units.at, room).min(rows.len().saturating_sub(room));
    let mut lines = vec![table::titles(model.look, &columns)];
    for (number, unit) in rows.iter().enumerate().skip(first).take(room) {
        let mut style = report
            .alarm(&unit.unit)
            .map_or_else(Style::new, |worst| model.look.alarm(worst));
        if number == at {
            style = style.patch(Look::selected());
        }
        let rates = model.rates.unit(&unit.unit);
        let cells = cells(model.look, report, unit, rates, width, now);
        lines.push(table::row(model.look, &columns, &cells, style));
    }
    if rows.is_empty() {
        let text = if report.units.is_empty() {
            "no units"
        } else {
            "no unit passes the filter"
        };
        lines.push(text.into());
    }
    let count = rows.len();
    super::lines(frame, area, lines);
    model.units.drawn(count, room);
    model.units.at = first;
}

fn cells(
    look: Look,
    report: &Report,
    unit: &Unit,
    rates: Option<&UnitRates>,
    width: usize,
    now: &Moment,
) -> Vec<String> {
    let wide = width >= WIDE;
    let alarm = match report.alarm(&unit.unit) {
        Some(Severity::Critical) => '!',
        Some(Severity::Warning) => 'w',
        None => ' ',
    };
    let lease = if unit.leases().is_empty() { ' ' } else { 'L' };
    let history = rates
        .map(|rates| rates.history.rates(now.up, history(width)))
        .unwrap_or_default();
    let mut cells = vec![
        format!("{alarm}{lease}"),
        unit.unit.as_str().to_owned(),
        unit.priority.as_str().to_owned(),
        known(unit.memory_bytes, text::size),
        known(unit.swap_bytes, text::size),
    ];
    if wide {
        cells.push(known(unit.limit("swap_max"), |limit| limit.show()));
    }
    cells.push(rate(rates.map(|rates| rates.out)));
    if wide {
        cells.extend([
            rate(rates.map(|rates| rates.back)),
            known(unit.swapout_pages, text::count),
            known(unit.critical_pages_swapped, text::count),
        ]);
    }
    cells.push(known(unit.psi, |psi| format!("{:.1}", psi.some.avg10)));
    cells.push(history.into_iter().map(|rate| look.spark(rate)).collect());
    if wide {
        cells.push(leases(unit));
    }
    cells
}

/// A rate; `-` until two reports have come.
pub(super) fn rate(rate: Option<Rate>) -> String {
    match rate {
        None | Some(Rate::Unknown) => "n/a".to_owned(),
        Some(Rate::Later) => "-".to_owned(),
        Some(Rate::Is(rate)) => text::rate(rate),
    }
}

fn leases(unit: &Unit) -> String {
    match unit.leases() {
        [] => String::new(),
        [one] => one.property.as_str().to_owned(),
        [one, more @ ..] => format!("{} +{}", one.property.as_str(), more.len()),
    }
}
