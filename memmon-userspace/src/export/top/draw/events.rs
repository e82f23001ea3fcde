//! What happened since the program was started, newest first.

use ratatui::{Frame, layout::Rect, text::Line};

use crate::export::top::{model::Model, order, text};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    let width = usize::from(area.width);
    let mut lines: Vec<Line<'static>> = model
        .events
        .iter()
        .filter(|event| order::passes(&model.filter, &[&event.text]))
        .map(|event| {
            let text = format!("{} {}", event.at, event.text);
            Line::styled(
                text::fit(&text, width, model.look.cut()),
                model.look.weight(event.weight),
            )
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
