//! Columns of text.

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use crate::export::top::{look::Look, text};

/// On which side a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A column: title, columns of the terminal, side.
pub(super) type Column = (&'static str, usize, Side);

/// What is left of `width` for one more column, with the blank before it.
pub(super) fn left_over(width: usize, columns: &[Column]) -> usize {
    width.saturating_sub(columns.iter().map(|(_, width, _)| width + 1).sum())
}

/// One row. The same number of cells as there are columns.
pub(super) fn row(look: Look, columns: &[Column], cells: &[String], style: Style) -> Line<'static> {
    let mut line = String::new();
    for ((_, width, side), cell) in columns.iter().zip(cells) {
        let cell = text::fit(cell, *width, look.cut());
        if !line.is_empty() {
            line.push(' ');
        }
        match side {
            Side::Left => line.push_str(&cell),
            Side::Right => line.push_str(&text::right(cell.trim_end(), *width)),
        }
    }
    Line::from(Span::styled(line, style))
}

/// The titles.
pub(super) fn titles(look: Look, columns: &[Column]) -> Line<'static> {
    let cells: Vec<String> = columns.iter().map(|(title, ..)| (*title).to_owned()).collect();
    row(look, columns, &cells, Look::title())
}

/// The first row to show of a list, so that `at` is seen and as little as possible moves.
pub(super) fn window(at: usize, first: usize, room: usize) -> usize {
    if at < first {
        at
    } else if room > 0 && at >= first + room {
        at + 1 - room
    } else {
        first
    }
}

/// `value`, or that it is not known.
pub(super) fn known<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "n/a".to_owned(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_is_always_seen() {
        assert_eq!(window(3, 0, 5), 0);
        assert_eq!(window(5, 0, 5), 1);
        assert_eq!(window(2, 4, 5), 2);
        assert_eq!(window(6, 4, 5), 4);
        assert_eq!(window(3, 0, 0), 0);
    }
}
