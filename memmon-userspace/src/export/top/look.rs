//! Colours and characters.
//!
//! Colours are few, from the terminal's own sixteen, and readable on dark and light backgrounds; whatever they say is
//! said in words or signs as well.

use ratatui::style::{Color, Modifier, Style};

use super::document::Severity;
use super::events::Weight;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// It knows colours, and the user wants them.
    pub colour: bool,
    /// It knows more characters than those of ASCII.
    pub unicode: bool,
}

impl Look {
    pub(super) fn alarm(self, severity: Severity) -> Style {
        let colour = match severity {
            Severity::Critical => Color::Red,
            Severity::Warning => Color::Magenta,
        };
        self.coloured(colour).add_modifier(Modifier::BOLD)
    }

    pub(super) fn weight(self, weight: Weight) -> Style {
        match weight {
            Weight::Plain => Style::new(),
            Weight::Notable => Style::new().add_modifier(Modifier::BOLD),
            Weight::Alarm => self.alarm(Severity::Critical),
        }
    }

    /// A situation or a level by its name.
    pub(super) fn level(self, name: &str) -> Style {
        match name {
            "critical" => self.alarm(Severity::Critical),
            "high" => self.alarm(Severity::Warning),
            _ => Style::new(),
        }
    }

    /// What must be seen although it is no alarm of a unit, such as that the agent is gone.
    pub(super) fn trouble(self) -> Style {
        self.alarm(Severity::Warning)
    }

    pub(super) const fn selected() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) const fn title() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) const fn faint() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    /// Shows that a text was cut.
    pub(super) const fn cut(self) -> char {
        if self.unicode { '…' } else { '~' }
    }

    /// A bar of `columns` filled to `share`.
    pub(super) fn bar(self, share: f64, columns: usize) -> String {
        #[expect(clippy::cast_precision_loss, reason = "columns of a terminal")]
        let exact = share.clamp(0.0, 1.0) * columns as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to columns"
        )]
        let full = (exact.round() as usize).min(columns);
        let (on, off) = if self.unicode { ("█", "░") } else { ("#", ".") };
        format!("{}{}", on.repeat(full), off.repeat(columns - full))
    }

    /// One column of a sparkline; `None` where nothing is known.
    pub(super) fn spark(self, rate: Option<f64>) -> char {
        const BLOCKS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const PLAIN: [char; 9] = ['.', '1', '2', '3', '4', '5', '6', '7', '8'];
        let set = if self.unicode { BLOCKS } else { PLAIN };
        rate.map_or(' ', |rate| set[super::history::level(rate)])
    }
}
