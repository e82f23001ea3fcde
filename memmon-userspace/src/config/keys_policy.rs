//! How the values of `[strategies]`, `[proactive]`, `[forecast]` and `[history]` are read.

use toml::{Spanned, de::DeValue};

use super::{
    ByteSize,
    keys::{Parsed, Reader},
    merge::Set,
};

/// Steps per minute beyond which the number is taken for a mistake.
const MOST_ACTIONS: u32 = 600;
/// A database smaller than this could not hold a day.
const SMALLEST: ByteSize = ByteSize(4 << 20);

impl Reader<'_> {
    pub(super) fn strategies(&mut self, (key, value): &Parsed<'_>) {
        const T: &str = "strategies";
        match key.get_ref().as_ref() {
            name @ "act" => {
                let set = self.boolean(T, name, value);
                self.draft.policy.act = set.or(self.draft.policy.act.take());
            }
            name @ "grace" => {
                let set = self.duration(T, name, value);
                self.draft.policy.grace = set.or(self.draft.policy.grace.take());
            }
            name @ "cool_down" => {
                let set = self.duration(T, name, value);
                self.draft.policy.cool_down = set.or(self.draft.policy.cool_down.take());
            }
            name @ "actions_per_minute" => {
                let set = self.number(T, name, value, 1, MOST_ACTIONS);
                self.draft.policy.actions_per_minute = set.or(self.draft.policy.actions_per_minute.take());
            }
            name => self.unknown(T, name, &key.span()),
        }
    }

    pub(super) fn proactive(&mut self, (key, value): &Parsed<'_>) {
        const T: &str = "proactive";
        match key.get_ref().as_ref() {
            name @ "enabled" => {
                let set = self.boolean(T, name, value);
                self.draft.policy.enabled = set.or(self.draft.policy.enabled.take());
            }
            name @ "horizon" => {
                let set = self.duration(T, name, value);
                self.draft.policy.horizon = set.or(self.draft.policy.horizon.take());
            }
            name @ "pressure" => {
                let set = self.number(T, name, value, 1, 1000);
                self.draft.policy.pressure = set.or(self.draft.policy.pressure.take());
            }
            name @ "daily" => {
                let set = self.size(T, name, value, ByteSize(1));
                self.draft.policy.daily = set.or(self.draft.policy.daily.take());
            }
            name => self.unknown(T, name, &key.span()),
        }
    }

    pub(super) fn forecast(&mut self, (key, value): &Parsed<'_>) {
        const T: &str = "forecast";
        match key.get_ref().as_ref() {
            name @ "alarms" => {
                let set = self.boolean(T, name, value);
                self.draft.policy.alarms = set.or(self.draft.policy.alarms.take());
            }
            name @ "alarm_within" => {
                let set = self.duration(T, name, value);
                self.draft.policy.alarm_within = set.or(self.draft.policy.alarm_within.take());
            }
            name => self.unknown(T, name, &key.span()),
        }
    }

    pub(super) fn history(&mut self, (key, value): &Parsed<'_>) {
        const T: &str = "history";
        match key.get_ref().as_ref() {
            name @ "enabled" => {
                let set = self.boolean(T, name, value);
                self.draft.policy.history = set.or(self.draft.policy.history.take());
            }
            name @ "interval" => {
                let set = self.duration(T, name, value);
                self.draft.policy.interval = set.or(self.draft.policy.interval.take());
            }
            name @ "keep" => {
                let set = self.duration(T, name, value);
                self.draft.policy.keep = set.or(self.draft.policy.keep.take());
            }
            name @ "size" => {
                let set = self.size(T, name, value, SMALLEST);
                self.draft.policy.size = set.or(self.draft.policy.size.take());
            }
            name => self.unknown(T, name, &key.span()),
        }
    }

    pub(super) fn boolean(
        &mut self,
        table: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Set<bool>> {
        let DeValue::Boolean(word) = value.get_ref() else {
            self.reject_type(table, key, value, "true or false, without quotes");
            return None;
        };
        Some(self.set(*word, &value.span()))
    }

    fn number(
        &mut self,
        table: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        least: u32,
        most: u32,
    ) -> Option<Set<u32>> {
        let want = format!("a whole number from {least} to {most}");
        let DeValue::Integer(integer) = value.get_ref() else {
            self.reject_type(table, key, value, &want);
            return None;
        };
        match u32::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if (least..=most).contains(&number) => Some(self.set(number, &value.span())),
            _ => {
                let problem = format!("is out of range: write {want}");
                self.reject(table, key, &value.span(), problem);
                None
            }
        }
    }

    fn size(
        &mut self,
        table: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        least: ByteSize,
    ) -> Option<Set<ByteSize>> {
        let text = self.string(table, key, value, "a size in quotes, such as \"500M\" or \"2G\"")?;
        let problem = match text.parse::<ByteSize>() {
            Ok(size) if size >= least => return Some(self.set(size, &value.span())),
            Ok(_) => format!("is too small: write at least \"{least}\""),
            Err(problem) => problem,
        };
        self.reject(table, key, &value.span(), problem);
        None
    }
}
