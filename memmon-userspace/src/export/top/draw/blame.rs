//! Who pushed out whose pages, and what is done about it.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::table::{self, Column, Side};
use crate::export::top::{
    document::{Blame, Strategy},
    look::Look,
    model::Model,
    order, text,
};

impl Model {
    /// The pairs that pass the filter: those that lose most at the moment first, then those that have lost most.
    pub(in crate::export::top) fn blame_rows(&self) -> Vec<&Blame> {
        let all = self
            .report
            .iter()
            .flat_map(|report| report.blame.iter().flatten());
        let mut rows: Vec<&Blame> = all
            .filter(|blame| order::passes(&self.filter, &[blame.victim.as_str(), &blame.culprit()]))
            .collect();
        rows.sort_by(|a, b| {
            let rate = |blame: &Blame| self.rates.blame(blame).value().unwrap_or(0.0);
            rate(b)
                .total_cmp(&rate(a))
                .then_with(|| (b.pages, a.key()).cmp(&(a.pages, b.key())))
        });
        rows
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    let Some(report) = &model.report else { return };
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let look = model.look;
    let strategies = strategies(look, &report.strategies, width, height / 3);
    let room = height.saturating_sub(strategies.len() + 2);
    // The two names share what is left.
    let names = width.saturating_sub(6 + 1 + 6 + 1 + 9 + 1 + 1) / 2;
    let columns: [Column; 5] = [
        ("OUT/s", 6, Side::Right),
        ("PAGES", 6, Side::Right),
        ("KIND", 9, Side::Left),
        ("OF", names, Side::Left),
        ("BY", names, Side::Left),
    ];
    let rows = model.blame_rows();
    let at = model.blame.at.min(rows.len().saturating_sub(1));
    let first = table::window(at, 0, room);
    let mut lines = vec![table::titles(look, &columns)];
    for (number, blame) in rows.iter().enumerate().skip(first).take(room) {
        let style = if number == at {
            Look::selected()
        } else {
            Style::new()
        };
        let cells = [
            super::units::rate(Some(model.rates.blame(blame))),
            text::count(blame.pages),
            blame.kind.as_str().to_owned(),
            blame.victim.as_str().to_owned(),
            blame.by().to_owned(),
        ];
        lines.push(table::row(look, &columns, &cells, style));
    }
    match rows.get(at) {
        Some(blame) => {
            let text = text::fit(meaning(blame.kind.as_str()), width, look.cut());
            lines.push(Line::styled(text, Look::faint()));
        }
        None if report.blame.is_none() => lines.push(Line::raw("nobody counts: no agent runs")),
        None if model.filter.is_empty() => {
            lines.push(Line::raw("no page was pushed out since the agent started"))
        }
        None => lines.push(Line::raw("nothing passes the filter")),
    }
    let count = rows.len();
    lines.extend(strategies);
    super::lines(frame, area, lines);
    model.blame.drawn(count, room);
}

/// What a kind of reclaim means.
fn meaning(kind: &str) -> &'static str {
    match kind {
        "kswapd" => "kswapd: the kernel's own thread, because the whole host is short of RAM",
        "direct" => "direct: a task of that unit needed memory and had to make room for it",
        "limit" => "limit: memory.max or memory.high of that cgroup was reached",
        "proactive" => "proactive: somebody wrote to memory.reclaim of that cgroup",
        "madvise" => "madvise: a process asked for it with MADV_PAGEOUT",
        "memcg" => "memcg: a limit or memory.reclaim; this kernel does not tell which",
        _ => "other: an occasion that memmon does not know",
    }
}

/// At most `most` lines with title and blank line; none if nothing is to be done.
fn strategies(look: Look, all: &[Strategy], width: usize, most: usize) -> Vec<Line<'static>> {
    if all.is_empty() || most < 3 {
        return Vec::new();
    }
    let mut lines = vec![Line::raw(""), Line::styled("DONE AND PROPOSED", Look::title())];
    for strategy in all.iter().take(most - 2) {
        let unit = strategy.unit.as_ref().map(|unit| format!(" {}", unit.as_str()));
        let amount = strategy.amount.map(|bytes| format!(" {}", text::size(bytes)));
        let text = format!(
            "{} {}{}{}: {}",
            if strategy.applied { "done" } else { "    " },
            strategy.action.as_str(),
            unit.unwrap_or_default(),
            amount.unwrap_or_default(),
            strategy.reason.as_str()
        );
        lines.push(Line::raw(text::fit(&text, width, look.cut())));
    }
    lines
}
