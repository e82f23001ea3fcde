//! What happened since the program was started, newest first.

use ratatui::{Frame, layout::Rect, text::Line};

use crate::export::top::{model::Model, order, text};

/// Columns of the time of day.
const INDENT: usize = 9;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    let (width, look) = (usize::from(area.width), model.look);
    let mut lines: Vec<Line<'static>> = model
        .events
        .iter()
        .filter(|event| order::passes(&model.filter, &[&event.text]))
        .flat_map(|event| {
            // Names of units are long, and the culprit is at the end.
            let wrapped = text::wrap(&event.text, width.saturating_sub(INDENT));
            let style = look.weight(event.weight);
            let lines = wrapped.into_iter().enumerate().map(move |(number, line)| {
                let at = if number == 0 { event.at.as_str() } else { "" };
                let text = format!("{at:<INDENT$}{line}");
                Line::styled(text::fit(&text, width, look.cut()), style)
            });
            lines.collect::<Vec<_>>()
        })
        .collect();
    let count = lines.len();
    if count == 0 {
        let why = if model.filter.is_empty() {
            "nothing has happened yet"
        } else {
            "nothing passes the filter"
        };
        lines.push(Line::raw(why));
    }
    model.stream.drawn(count, area.height.into());
    let first = model.stream.at;
    super::lines(frame, area, lines.into_iter().skip(first));
}
