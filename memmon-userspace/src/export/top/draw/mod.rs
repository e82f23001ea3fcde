//! Draws the model: what the host is like on top, then one view, then the keys.

mod blame;
mod events;
mod header;
mod help;
mod table;
mod unit;
mod units;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
};

use super::{
    look::Look,
    model::{Model, Moment, View},
    text,
};

/// Below this nothing useful can be shown.
const SMALLEST: (u16, u16) = (40, 10);

/// Draws everything. The model learns from it how far it can be scrolled.
pub fn draw(frame: &mut Frame<'_>, model: &mut Model, now: &Moment) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!("memmon top needs {} columns and {} lines", SMALLEST.0, SMALLEST.1);
        frame.render_widget(Line::raw(text), area);
        return;
    }
    let header = header::lines(model, area.width.into(), area.height.into(), now);
    let height = u16::try_from(header.len()).unwrap_or(u16::MAX);
    let [top, tabs, body, bottom] = Layout::vertical([
        Constraint::Length(height),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    lines(frame, top, header);
    frame.render_widget(self::tabs(model, area.width.into()), tabs);
    match model.view {
        _ if model.help => help::draw(frame, body),
        _ if model.report.is_none() && model.view != View::Events => waiting(frame, body, model),
        View::Units => units::draw(frame, body, model, now),
        View::Blame => blame::draw(frame, body, model),
        View::Unit => unit::draw(frame, body, model, now),
        View::Events => events::draw(frame, body, model),
    }
    frame.render_widget(footer(model, area.width.into()), bottom);
}

/// Draws lines from the top of `area`, as many as fit.
fn lines(frame: &mut Frame<'_>, area: Rect, lines: impl IntoIterator<Item = Line<'static>>) {
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

fn waiting(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let text = match &model.lost {
        None => "waiting for the first report".to_owned(),
        Some((_, why)) => format!("no report yet: {}", why.as_str()),
    };
    let wrapped = text::wrap(&text, area.width.into());
    lines(frame, area, wrapped.into_iter().map(Line::raw));
}

fn tabs(model: &Model, width: usize) -> Line<'static> {
    let mut spans = Vec::new();
    let mut used = 0;
    for (view, name) in View::ALL {
        let style = if view == model.view {
            Look::selected()
        } else {
            Look::title()
        };
        let label = format!(" {name} ");
        used += label.len() + 1;
        spans.extend([Span::styled(label, style), Span::raw(" ")]);
    }
    let mut notes = Vec::new();
    match model.view {
        View::Units => {
            let way = if model.reverse { ", reversed" } else { "" };
            notes.push(format!("by {}{way}", model.sort.as_str()));
            if let Some(report) = &model.report {
                let shown = model.rows().len();
                let all = report.units.len();
                notes.push(if shown == all {
                    format!("{all} units")
                } else {
                    format!("{shown} of {all} units")
                });
            }
        }
        View::Unit => notes.extend(model.selected.iter().map(|unit| unit.as_str().to_owned())),
        View::Blame | View::Events => {}
    }
    if !model.filter.is_empty() && model.view != View::Unit {
        notes.push(format!("filter \"{}\"", model.filter));
    }
    let room = width.saturating_sub(used);
    let notes = text::fit(&notes.join(", "), room, model.look.cut());
    spans.push(Span::raw(text::right(notes.trim_end(), room)));
    Line::from(spans)
}

fn footer(model: &Model, width: usize) -> Line<'static> {
    if model.typing.is_some() {
        let text = format!("filter: {}_   Enter keep  Esc drop  Ctrl-U empty", model.filter);
        return Line::styled(text::fit(&text, width, model.look.cut()), Look::title());
    }
    let keys: &[(&str, &str)] = match model.view {
        _ if model.help => &[("any key", "back"), ("q", "quit")],
        View::Units => &[
            ("q", "quit"),
            ("?", "help"),
            ("Tab", "view"),
            ("Enter", "unit"),
            ("/", "filter"),
            ("s", "sort"),
            ("r", "reverse"),
            ("p", "pause"),
        ],
        View::Blame => &[
            ("q", "quit"),
            ("?", "help"),
            ("Tab", "view"),
            ("Enter", "the unit that lost them"),
            ("/", "filter"),
            ("p", "pause"),
        ],
        View::Unit => &[
            ("q", "quit"),
            ("?", "help"),
            ("Tab", "view"),
            ("Esc", "back"),
            ("j k", "scroll"),
            ("p", "pause"),
        ],
        View::Events => &[
            ("q", "quit"),
            ("?", "help"),
            ("Tab", "view"),
            ("/", "filter"),
            ("j k", "scroll"),
            ("p", "pause"),
        ],
    };
    let mut spans = Vec::new();
    for (key, what) in keys {
        let key = if *key == "p" && model.paused { "p" } else { key };
        let what = if *what == "pause" && model.paused {
            "go on"
        } else {
            what
        };
        spans.extend([
            Span::styled((*key).to_owned(), Look::title()),
            Span::raw(format!(" {what}  ")),
        ]);
    }
    Line::from(spans)
}
