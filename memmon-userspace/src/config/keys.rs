//! The keys that exist, and how the value of each is read.

use std::{ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Listen, LogLevel, OnCriticalSwap, Pattern, Priority, WritePath,
    error::{ConfigError, KeyName, Source},
    merge::{Draft, Set},
    model::Choice,
    units,
};

/// Every table with its keys; `""` is the document itself. `[units]` has patterns instead.
const KEYS: &[(&str, &[&str])] = &[
    ("", &["listen"]),
    ("units", &[]),
    (
        "thresholds",
        &[
            "ram_critical",
            "ram_high",
            "swap_high",
            "compressed_high",
            "hysteresis",
            "dwell",
        ],
    ),
    ("reaction", &["on_critical_swap", "write_path", "hold"]),
    ("alerts", &["alertmanager", "webhook", "exec"]),
    ("http", &["hosts", "page", "token_file"]),
    ("strategies", &["act", "grace", "cool_down", "actions_per_minute"]),
    ("proactive", &["enabled", "horizon", "pressure", "daily"]),
    ("forecast", &["alarms", "alarm_within"]),
    ("history", &["enabled", "interval", "keep", "size"]),
    ("log", &["level", "bpf_level"]),
];

/// Beyond this a duration is taken for a mistake; it also keeps deadlines from overflowing.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) type Parsed<'i> = (Spanned<toml::de::DeString<'i>>, Spanned<DeValue<'i>>);

/// Reads one file's keys into a draft and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) source: Source<'a>,
    pub(super) layer: usize,
    pub(super) draft: &'a mut Draft,
    pub(super) errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    pub(super) fn document(&mut self, document: DeTable<'_>) {
        for (key, value) in document {
            let name = key.get_ref().as_ref();
            match name {
                "listen" => self.draft.listen = self.listen(&value).or(self.draft.listen.take()),
                "units" | "thresholds" | "reaction" | "alerts" | "http" | "strategies" | "proactive"
                | "forecast" | "history" | "log" => {
                    let name = name.to_owned();
                    self.table(&name, value);
                }
                _ => self.unknown("", name, &key.span()),
            }
        }
    }

    fn table(&mut self, table: &str, value: Spanned<DeValue<'_>>) {
        let span = value.span();
        let DeValue::Table(entries) = value.into_inner() else {
            let problem = format!("is not a table: write [{table}] on a line of its own, its keys below");
            return self.reject(table, "", &span, problem);
        };
        for entry in entries {
            match table {
                "units" => self.unit(entry),
                "thresholds" => self.threshold(&entry),
                "reaction" => self.reaction(&entry),
                "alerts" => self.alerts(&entry),
                "http" => self.http(&entry),
                "strategies" => self.strategies(&entry),
                "proactive" => self.proactive(&entry),
                "forecast" => self.forecast(&entry),
                "history" => self.history(&entry),
                _ => self.log(&entry),
            }
        }
    }

    fn unit(&mut self, (key, value): Parsed<'_>) {
        let name = key.get_ref().as_ref();
        let pattern = Pattern::new(name).map_err(|e| e.to_string()).and_then(|pattern| {
            units::check_names_a_unit(&pattern)?;
            Ok(pattern)
        });
        let priority = self.choice::<Priority>("units", name, &value);
        match (pattern, priority) {
            (Ok(pattern), Some(set)) => {
                self.draft.units.insert(name.to_owned(), (pattern, set));
            }
            (Ok(_), None) => {}
            (Err(problem), _) => self.errors.push(ConfigError::Value {
                at: self.source.at(&key.span()),
                key: KeyName::new("units", ""),
                value: self.source.quote(&key.span()),
                problem,
            }),
        }
    }

    fn threshold(&mut self, (key, value): &Parsed<'_>) {
        let name = key.get_ref().as_ref();
        if !KEYS
            .iter()
            .any(|(table, keys)| *table == "thresholds" && keys.contains(&name))
        {
            return self.unknown("thresholds", name, &key.span());
        }
        if name == "dwell" {
            let set = self.duration("thresholds", name, value);
            self.draft.dwell = set.or(self.draft.dwell.take());
            return;
        }
        let Some(set) = self.fraction("thresholds", name, value) else {
            return;
        };
        let slot = match name {
            "ram_critical" => &mut self.draft.ram_critical,
            "ram_high" => &mut self.draft.ram_high,
            "swap_high" => &mut self.draft.swap_high,
            "compressed_high" => &mut self.draft.compressed_high,
            _ => &mut self.draft.hysteresis,
        };
        *slot = Some(set);
    }

    fn reaction(&mut self, (key, value): &Parsed<'_>) {
        match key.get_ref().as_ref() {
            name @ "on_critical_swap" => {
                let set = self.choice::<OnCriticalSwap>("reaction", name, value);
                self.draft.on_critical_swap = set.or(self.draft.on_critical_swap.take());
            }
            name @ "write_path" => {
                let set = self.choice::<WritePath>("reaction", name, value);
                self.draft.write_path = set.or(self.draft.write_path.take());
            }
            name @ "hold" => {
                let set = self.duration("reaction", name, value);
                self.draft.hold = set.or(self.draft.hold.take());
            }
            name => self.unknown("reaction", name, &key.span()),
        }
    }

    fn log(&mut self, (key, value): &Parsed<'_>) {
        match key.get_ref().as_ref() {
            name @ "level" => {
                let set = self.choice::<LogLevel>("log", name, value);
                self.draft.level = set.or(self.draft.level.take());
            }
            name @ "bpf_level" => {
                let set = self.choice::<LogLevel>("log", name, value);
                self.draft.bpf_level = set.or(self.draft.bpf_level.take());
            }
            name => self.unknown("log", name, &key.span()),
        }
    }

    fn listen(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Set<Listen>> {
        let text = self.string(
            "",
            "listen",
            value,
            "an address in quotes, such as \"127.0.0.1:9757\"",
        )?;
        match text.parse() {
            Ok(listen) => Some(self.set(listen, &value.span())),
            Err(problem) => {
                self.reject("", "listen", &value.span(), problem);
                None
            }
        }
    }

    fn choice<T: Choice>(&mut self, table: &str, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Set<T>> {
        let want = format!("one of {}", T::words());
        let word = self.string(table, key, value, &want)?;
        match T::parse(&word) {
            Some(choice) => Some(self.set(choice, &value.span())),
            None => {
                self.reject(
                    table,
                    key,
                    &value.span(),
                    format!("is none of the words known here: write {want}"),
                );
                None
            }
        }
    }

    fn fraction(&mut self, table: &str, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Set<f64>> {
        let want = "a fraction above 0.0 and at most 1.0, such as 0.5";
        let DeValue::Float(float) = value.get_ref() else {
            self.reject_type(table, key, value, want);
            return None;
        };
        match float.as_str().parse::<f64>() {
            Ok(fraction) if fraction > 0.0 && fraction <= 1.0 => Some(self.set(fraction, &value.span())),
            _ => {
                self.reject(
                    table,
                    key,
                    &value.span(),
                    format!("is out of range: write {want}"),
                );
                None
            }
        }
    }

    pub(super) fn duration(
        &mut self,
        table: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Set<Duration>> {
        let text = self.string(
            table,
            key,
            value,
            "a duration in quotes, such as \"10m\" or \"1h 30m\"",
        )?;
        let problem = match humantime::parse_duration(&text) {
            Ok(duration) if duration.is_zero() => {
                "is no time at all: write a longer duration, such as \"10m\"".to_owned()
            }
            Ok(duration) if duration > LONGEST => {
                "is longer than a year: write a shorter duration".to_owned()
            }
            Ok(duration) => return Some(self.set(duration, &value.span())),
            Err(error) => format!("is not a duration ({error}): write a number and a unit, such as \"10m\""),
        };
        self.reject(table, key, &value.span(), problem);
        None
    }

    pub(super) fn string(
        &mut self,
        table: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        want: &str,
    ) -> Option<String> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.to_string());
        }
        self.reject_type(table, key, value, want);
        None
    }

    pub(super) fn set<T>(&self, value: T, span: &Range<usize>) -> Set<T> {
        let (at, quote) = (self.source.at(span), self.source.quote(span));
        Set {
            value,
            at,
            quote,
            layer: self.layer,
        }
    }

    pub(super) fn reject_type(&mut self, table: &str, key: &str, value: &Spanned<DeValue<'_>>, want: &str) {
        let kind = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a floating-point number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.reject(table, key, &value.span(), format!("is {kind}: write {want}"));
    }

    pub(super) fn reject(&mut self, table: &str, key: &str, span: &Range<usize>, problem: String) {
        let (at, value) = (self.source.at(span), self.source.quote(span));
        self.errors.push(ConfigError::Value {
            at,
            key: KeyName::new(table, key),
            value,
            problem,
        });
    }

    pub(super) fn unknown(&mut self, table: &str, key: &str, span: &Range<usize>) {
        let elsewhere = KEYS
            .iter()
            .find(|(_, keys)| keys.contains(&key))
            .map(|(table, _)| *table);
        let remedy = match elsewhere {
            Some("") => format!("move {key} above the first [table]"),
            Some(home) => format!("move {key} to [{home}]"),
            None if table.is_empty() => {
                let tables: Vec<_> = KEYS
                    .iter()
                    .filter(|(t, _)| !t.is_empty())
                    .map(|(t, _)| format!("[{t}]"))
                    .collect();
                format!("there are listen, {}", tables.join(", "))
            }
            None => {
                let keys = KEYS
                    .iter()
                    .find(|(t, _)| *t == table)
                    .map_or_else(String::new, |(_, k)| k.join(", "));
                format!("[{table}] has {keys}")
            }
        };
        self.errors.push(ConfigError::UnknownKey {
            at: self.source.at(span),
            key: KeyName::new(table, key),
            remedy,
        });
    }
}
