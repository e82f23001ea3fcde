//! The effective configuration as text: for `memmon config show`, and for what a reload changed.

use std::{fmt::Write as _, path::Path};

use toml::Value;

use super::{Config, Location, Url, error::KeyName, model::Choice};

/// One effective value.
struct Entry<'a> {
    key: KeyName,
    value: Value,
    origin: Option<&'a Location>,
}

impl Config {
    /// TOML that says the same, each value with the file it comes from behind it.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut table = String::new();
        for Entry { key, value, origin } in self.entries() {
            if key.table != table {
                table.clone_from(&key.table);
                let _ = writeln!(text, "\n[{table}]");
            }
            let name = if table == "units" {
                Value::from(key.key).to_string()
            } else {
                key.key
            };
            let _ = write!(text, "{name} = {value}");
            match origin {
                Some(at) => _ = writeln!(text, "  # {}:{}", at.file, at.line),
                None => text.push('\n'),
            }
        }
        text
    }

    /// The same for machines: `config` is shaped as the TOML, `sources` says where each value comes from.
    pub fn to_json(&self) -> serde_json::Value {
        let mut config = serde_json::Map::new();
        let mut sources = Vec::new();
        for Entry {
            key: KeyName { table, key },
            value,
            origin,
        } in self.entries()
        {
            if let Some(at) = origin {
                sources.push(serde_json::json!({
                    "table": table, "key": key, "file": &*at.file, "line": at.line, "column": at.column,
                }));
            }
            let value = match value {
                Value::Float(number) => serde_json::json!(number),
                Value::String(text) => serde_json::json!(text),
                list @ Value::Array(_) => serde_json::json!(list),
                Value::Boolean(word) => serde_json::json!(word),
                Value::Integer(number) => serde_json::json!(number),
                other => serde_json::json!(other.to_string()),
            };
            if table.is_empty() {
                config.insert(key, value);
            } else if let serde_json::Value::Object(entries) =
                config.entry(table).or_insert_with(|| serde_json::json!({}))
            {
                entries.insert(key, value);
            }
        }
        serde_json::json!({ "schema": "memmon.config/1", "config": config, "sources": sources })
    }

    /// What is different from `old`, one line per value; empty if nothing is. Where a value comes from
    /// does not count.
    pub fn changes_since(&self, old: &Self) -> Vec<String> {
        let (old, new) = (old.entries(), self.entries());
        let find = |entries: &[Entry<'_>], key: &KeyName| {
            entries
                .iter()
                .find(|entry| entry.key == *key)
                .map(|entry| entry.value.to_string())
        };
        let mut changes = Vec::new();
        for entry in &new {
            match find(&old, &entry.key) {
                Some(before) if before == entry.value.to_string() => {}
                Some(before) => changes.push(format!("{}: {before} → {}", entry.key, entry.value)),
                None => changes.push(format!("{}: added, {}", entry.key, entry.value)),
            }
        }
        let gone = old.iter().filter(|entry| find(&new, &entry.key).is_none());
        changes.extend(gone.map(|entry| format!("{}: removed, was {}", entry.key, entry.value)));
        changes
    }

    /// Every effective value, in the order of the shipped file.
    fn entries(&self) -> Vec<Entry<'_>> {
        let mut entries = Vec::new();
        let mut add = |table: &str, key: &str, value: Value| {
            let origin = self.origins.get(&(table.to_owned(), key.to_owned()));
            entries.push(Entry {
                key: KeyName::new(table, key),
                value,
                origin,
            });
        };
        add("", "listen", self.listen.to_string().into());
        for (pattern, priority) in self.units.iter() {
            add("units", pattern, priority.as_str().into());
        }
        add("thresholds", "ram_critical", self.thresholds.ram_critical.into());
        add("thresholds", "ram_high", self.thresholds.ram_high.into());
        add("thresholds", "swap_high", self.thresholds.swap_high.into());
        add(
            "thresholds",
            "compressed_high",
            self.thresholds.compressed_high.into(),
        );
        add("thresholds", "hysteresis", self.thresholds.hysteresis.into());
        add("thresholds", "dwell", span(self.thresholds.dwell));
        add(
            "reaction",
            "on_critical_swap",
            self.reaction.on_critical_swap.name().into(),
        );
        add("reaction", "write_path", self.reaction.write_path.name().into());
        add("reaction", "hold", span(self.reaction.hold));
        let strategies = &self.strategies;
        add("strategies", "act", strategies.act.into());
        add("strategies", "grace", span(strategies.grace));
        add("strategies", "cool_down", span(strategies.cool_down));
        add(
            "strategies",
            "actions_per_minute",
            i64::from(strategies.actions_per_minute).into(),
        );
        let urls = |urls: &[Url]| Value::Array(urls.iter().map(|url| url.to_string().into()).collect());
        let words = |words: &[String]| Value::Array(words.iter().map(|word| word.as_str().into()).collect());
        add("alerts", "alertmanager", urls(&self.alerts.alertmanager));
        add("alerts", "webhook", urls(&self.alerts.webhook));
        add("alerts", "exec", words(&self.alerts.exec));
        add("http", "hosts", words(&self.http.hosts));
        add("http", "page", self.http.page.into());
        let token_file = self.http.token_file.as_deref().map(Path::to_string_lossy);
        add(
            "http",
            "token_file",
            token_file.unwrap_or_default().as_ref().into(),
        );
        let proactive = &self.proactive;
        add("proactive", "enabled", proactive.enabled.into());
        add("proactive", "horizon", span(proactive.horizon));
        add("proactive", "pressure", i64::from(proactive.pressure).into());
        add("proactive", "daily", proactive.daily.to_string().into());
        add("forecast", "alarms", self.forecast.alarms.into());
        add("forecast", "alarm_within", span(self.forecast.alarm_within));
        add("history", "enabled", self.history.enabled.into());
        add("history", "interval", span(self.history.interval));
        add("history", "keep", span(self.history.keep));
        add("history", "size", self.history.size.to_string().into());
        add("log", "level", self.log.level.name().into());
        add("log", "bpf_level", self.log.bpf_level.name().into());
        entries
    }
}

fn span(duration: std::time::Duration) -> Value {
    humantime::format_duration(duration).to_string().into()
}
