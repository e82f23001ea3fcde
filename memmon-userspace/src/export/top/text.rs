//! Text of other processes made harmless, and numbers in few characters.

use ratatui::text::Span;
use serde::{Deserialize, Deserializer};

/// A text that somebody else wrote, without anything that a terminal would obey.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Clean(String);

impl Clean {
    /// Puts U+FFFD in the place of control characters, and of those that turn the direction of writing or have no
    /// width: a unit is not to look like another.
    pub(super) fn new(text: &str) -> Self {
        let harmless = |c: char| {
            !c.is_control()
                && !matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
                && !matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        };
        let cleaned = text.chars().map(|c| if harmless(c) { c } else { '\u{fffd}' });
        Self(cleaned.collect())
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Clean {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&String::deserialize(deserializer)?))
    }
}

/// How many columns `text` takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// `text` in exactly `columns`, filled with blanks; if it is longer, its end is kept out and `mark` says so.
pub(super) fn fit(text: &str, columns: usize, mark: char) -> String {
    if width(text) <= columns {
        return format!("{text}{}", " ".repeat(columns - width(text)));
    }
    let mut cut = String::new();
    for c in text.chars() {
        cut.push(c);
        if width(&cut) + 1 > columns {
            cut.pop();
            break;
        }
    }
    if columns > 0 {
        cut.push(mark);
    }
    let missing = columns.saturating_sub(width(&cut));
    cut + &" ".repeat(missing)
}

/// `text` at the right of `columns`.
pub(super) fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Lines of at most `columns` that end between words where they can.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("never empty");
        if line.is_empty() {
            line.push_str(word);
        } else if width(line) + 1 + width(word) <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// A number of bytes in at most five characters: `4.0G`, `812M`, `0`.
pub(super) fn size(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["", "K", "M", "G", "T", "P", "E"])
}

/// A count in at most five characters: `950`, `1.2k`, `35k`.
pub(super) fn count(value: u64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T", "P", "E"])
}

fn scaled(value: u64, step: f64, units: &[&str]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut rest = value as f64;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    // 999.6 would be written as 1000.
    while rest >= step - 0.5
        && let Some(next) = units.next()
    {
        rest /= step;
        unit = next;
    }
    if unit.is_empty() || rest >= 9.95 {
        format!("{rest:.0}{unit}")
    } else {
        format!("{rest:.1}{unit}")
    }
}

/// Events per second in at most five characters; less than one is not none.
pub(super) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        format!("{:.1}", per_second.max(0.1))
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rates are not negative, and saturate"
        )]
        count(per_second.round() as u64)
    }
}

/// A share as whole percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A stretch of time in its two largest units: `3 h 12 min`, `45 s`.
pub(super) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// The time of day in an RFC 3339 timestamp: `03:04:05`.
pub(super) fn time_of_day(timestamp: &str) -> &str {
    timestamp.get(11..19).unwrap_or(timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let nasty = "a\u{1b}[2J\r\n\u{7}\u{9b}31m\u{202e}b\u{200b}c\u{7f}";
        let clean = Clean::new(nasty);
        assert_eq!(
            clean.as_str(),
            "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}31m\u{fffd}b\u{fffd}c\u{fffd}"
        );
        let parsed: Clean = serde_json::from_str("\"x\\u001b]0;title\\u0007\"").expect("JSON");
        assert_eq!(parsed.as_str(), "x\u{fffd}]0;title\u{fffd}");
        assert_eq!(
            Clean::new("dev-disk\\x2d1.swap äß").as_str(),
            "dev-disk\\x2d1.swap äß"
        );
    }

    #[test]
    fn texts_fit_exactly() {
        assert_eq!(fit("abc", 5, '~'), "abc  ");
        assert_eq!(fit("abcdef", 5, '~'), "abcd~");
        assert_eq!(fit("漢字漢字", 6, '~'), "漢字~ ");
        assert_eq!(fit("abc", 0, '~'), "");
        for columns in 0..12 {
            assert_eq!(width(&fit("a漢b字cd漢", columns, '…')), columns);
        }
        assert_eq!(right("12", 4), "  12");
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
    }

    #[test]
    fn numbers_take_five_characters() {
        assert_eq!(size(0), "0");
        assert_eq!(size(8192), "8.0K");
        assert_eq!(size(4 << 30), "4.0G");
        assert_eq!(size(812 << 20), "812M");
        assert_eq!(size(u64::MAX), "16E");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1.0k");
        assert_eq!(count(999_600), "1.0M");
        assert_eq!(rate(0.0), "0");
        assert_eq!(rate(0.01), "0.1");
        assert_eq!(rate(2.5), "2.5");
        assert_eq!(rate(1_234.0), "1.2k");
        for shift in 0..64 {
            for value in [(1_u64 << shift) - 1, 1 << shift] {
                assert!(size(value).len() <= 5 && count(value).len() <= 5, "{value}");
            }
        }
    }

    #[test]
    fn times() {
        assert_eq!(span(45), "45 s");
        assert_eq!(span(61), "1 min 1 s");
        assert_eq!(span(11_520), "3 h 12 min");
        assert_eq!(span(90_000), "1 d 1 h");
        assert_eq!(time_of_day("2026-01-02T03:04:05.681000Z"), "03:04:05");
        assert_eq!(time_of_day("soon"), "soon");
    }
}
