//! How the values of `[alerts]` and `[http]` are read: most of them are lists.

use std::{path::PathBuf, str::FromStr as _};

use toml::{Spanned, de::DeValue};

use super::{
    alerts::{self, Url},
    keys::{Parsed, Reader},
    merge::Set,
};

impl Reader<'_> {
    pub(super) fn alerts(&mut self, (key, value): &Parsed<'_>) {
        const T: &str = "alerts";
        match key.get_ref().as_ref() {
            name @ "alertmanager" => {
                let set = self.list(T, name, value, Url::from_str);
                self.draft.alerts.alertmanager = set.or(self.draft.alerts.alertmanager.take());
            }
            name @ "webhook" => {
                let set = self.list(T, name, value, Url::from_str);
                self.draft.alerts.webhook = set.or(self.draft.alerts.webhook.take());
            }
            name @ "exec" => {
                let mut first = true;
                let set = self.list(T, name, value, |word| {
                    if std::mem::take(&mut first) {
                        alerts::check_program(word)?;
                    }
                    Ok(word.to_owned())
                });
                self.draft.alerts.exec = set.or(self.draft.alerts.exec.take());
            }
            name => self.unknown(T, name, &key.span()),
        }
    }

    pub(super) fn http(&mut self, (key, value): &Parsed<'_>) {
        const T: &str = "http";
        match key.get_ref().as_ref() {
            name @ "hosts" => {
                let set = self.list(T, name, value, |host| {
                    alerts::check_host(host)?;
                    Ok(host.to_owned())
                });
                self.draft.alerts.hosts = set.or(self.draft.alerts.hosts.take());
            }
            name @ "page" => {
                let set = self.boolean(T, name, value);
                self.draft.alerts.page = set.or(self.draft.alerts.page.take());
            }
            name @ "token_file" => {
                let set = self.token_file(T, name, value);
                self.draft.alerts.token_file = set.or(self.draft.alerts.token_file.take());
            }
            name => self.unknown(T, name, &key.span()),
        }
    }

    fn token_file(
        &mut self,
        table: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Set<Option<PathBuf>>> {
        let text = self.string(
            table,
            key,
            value,
            "a path in quotes, such as \"/etc/memmon/web.token\"",
        )?;
        match alerts::token_file(&text) {
            Ok(path) => Some(self.set(path, &value.span())),
            Err(problem) => {
                self.reject(table, key, &value.span(), problem);
                None
            }
        }
    }

    /// A list of strings, each read by `read`; what is wrong with one of them is told where it stands.
    fn list<V>(
        &mut self,
        table: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        mut read: impl FnMut(&str) -> Result<V, String>,
    ) -> Option<Set<Vec<V>>> {
        let want = "a list of strings in brackets, such as [\"one\", \"two\"], or [] for none";
        let DeValue::Array(items) = value.get_ref() else {
            self.reject_type(table, key, value, want);
            return None;
        };
        let mut values = Vec::new();
        for item in items {
            let text = self.string(table, key, item, "a string in quotes")?;
            match read(&text) {
                Ok(value) => values.push(value),
                Err(problem) => {
                    self.reject(table, key, &item.span(), problem);
                    return None;
                }
            }
        }
        Some(self.set(values, &value.span()))
    }
}
