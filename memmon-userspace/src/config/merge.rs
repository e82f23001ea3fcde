//! From layers to one configuration.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Alerts, BUILT_IN, Config, ConfigError, ConfigErrors, Forecast, History, Http, Layers, Listen, Location,
    Log, LogLevel, OnCriticalSwap, Pattern, Priority, Proactive, Reaction, Strategies, Thresholds, UnitTable,
    WritePath, alerts::AlertsDraft, error::KeyName, file, policy::PolicyDraft,
};

/// What the location of a built-in value says in the place of a file.
const BUILT_IN_NAME: &str = "(built-in)/memmon.toml";

/// A value that a file has set.
#[derive(Clone, Debug)]
pub(super) struct Set<T> {
    pub(super) value: T,
    pub(super) at: Location,
    /// As it is written there.
    pub(super) quote: String,
    /// Number of the file in the order of reading.
    pub(super) layer: usize,
}

/// The values read so far; later files overwrite them.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// In the order of reading.
    files: Vec<Arc<str>>,
    pub(super) listen: Option<Set<Listen>>,
    pub(super) units: BTreeMap<String, (Pattern, Set<Priority>)>,
    pub(super) ram_critical: Option<Set<f64>>,
    pub(super) ram_high: Option<Set<f64>>,
    pub(super) swap_high: Option<Set<f64>>,
    pub(super) compressed_high: Option<Set<f64>>,
    pub(super) hysteresis: Option<Set<f64>>,
    pub(super) dwell: Option<Set<Duration>>,
    pub(super) on_critical_swap: Option<Set<OnCriticalSwap>>,
    pub(super) write_path: Option<Set<WritePath>>,
    pub(super) hold: Option<Set<Duration>>,
    pub(super) alerts: AlertsDraft,
    pub(super) policy: PolicyDraft,
    pub(super) level: Option<Set<LogLevel>>,
    pub(super) bpf_level: Option<Set<LogLevel>>,
}

impl Config {
    /// Reads and checks the files of `layers`.
    ///
    /// # Errors
    /// If a file cannot be read, is not TOML, or says something impossible, alone or together with
    /// another: everything that was found, in the order of reading.
    pub fn load(layers: &Layers) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let vendor = layers.vendor().unwrap_or_else(|unreadable| {
            errors.push(unreadable.into());
            None
        });
        let mut draft = built_in(&mut errors);
        if vendor.is_some() {
            // The vendor's file says which units there are; the built-in copy only fills keys it left out.
            draft.units.clear();
        }
        for (path, bytes) in vendor.into_iter().chain(layers.local(&mut errors)) {
            draft.read(Arc::from(path.to_string_lossy()), &bytes, &mut errors);
        }
        draft.finish(errors)
    }

    /// The shipped defaults with `text` over them, as if it were a file called `name`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_text(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let mut draft = built_in(&mut errors);
        draft.read(Arc::from(name), text.as_bytes(), &mut errors);
        draft.finish(errors)
    }
}

impl Default for Config {
    /// The shipped defaults.
    fn default() -> Self {
        let mut errors = Vec::new();
        built_in(&mut errors)
            .finish(errors)
            .expect("a test loads the built-in defaults")
    }
}

fn built_in(errors: &mut Vec<ConfigError>) -> Draft {
    let mut draft = Draft::default();
    draft.read(Arc::from(BUILT_IN_NAME), BUILT_IN.as_bytes(), errors);
    draft
}

impl Draft {
    /// Reads one more file.
    fn read(&mut self, name: Arc<str>, bytes: &[u8], errors: &mut Vec<ConfigError>) {
        file::read(self, self.files.len(), &name, bytes, errors);
        self.files.push(name);
    }

    /// Checks values against each other and makes the configuration.
    fn finish(self, mut errors: Vec<ConfigError>) -> Result<Config, ConfigErrors> {
        if !errors.iter().any(|error| error.spoils("thresholds")) {
            self.check_thresholds(&mut errors);
        }
        self.check_page(&mut errors);
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let mut origins = Origins::default();
        let units: Vec<_> = self
            .units
            .into_iter()
            .map(|(text, (pattern, set))| (pattern, origins.note("units", &text, set)))
            .collect();
        let alerts = self.alerts;
        let policy = self.policy;
        let config = Config {
            listen: origins.take("", "listen", self.listen),
            units: UnitTable::new(units),
            thresholds: Thresholds {
                ram_critical: origins.take("thresholds", "ram_critical", self.ram_critical),
                ram_high: origins.take("thresholds", "ram_high", self.ram_high),
                swap_high: origins.take("thresholds", "swap_high", self.swap_high),
                compressed_high: origins.take("thresholds", "compressed_high", self.compressed_high),
                hysteresis: origins.take("thresholds", "hysteresis", self.hysteresis),
                dwell: origins.take("thresholds", "dwell", self.dwell),
            },
            reaction: Reaction {
                on_critical_swap: origins.take("reaction", "on_critical_swap", self.on_critical_swap),
                write_path: origins.take("reaction", "write_path", self.write_path),
                hold: origins.take("reaction", "hold", self.hold),
            },
            alerts: Alerts {
                alertmanager: origins.take("alerts", "alertmanager", alerts.alertmanager),
                webhook: origins.take("alerts", "webhook", alerts.webhook),
                exec: origins.take("alerts", "exec", alerts.exec),
            },
            http: Http {
                hosts: origins.take("http", "hosts", alerts.hosts),
                page: origins.take("http", "page", alerts.page),
                token_file: origins.take("http", "token_file", alerts.token_file),
            },
            strategies: Strategies {
                act: origins.take("strategies", "act", policy.act),
                grace: origins.take("strategies", "grace", policy.grace),
                cool_down: origins.take("strategies", "cool_down", policy.cool_down),
                actions_per_minute: origins.take(
                    "strategies",
                    "actions_per_minute",
                    policy.actions_per_minute,
                ),
            },
            proactive: Proactive {
                enabled: origins.take("proactive", "enabled", policy.enabled),
                horizon: origins.take("proactive", "horizon", policy.horizon),
                pressure: origins.take("proactive", "pressure", policy.pressure),
                daily: origins.take("proactive", "daily", policy.daily),
            },
            forecast: Forecast {
                alarms: origins.take("forecast", "alarms", policy.alarms),
                alarm_within: origins.take("forecast", "alarm_within", policy.alarm_within),
            },
            history: History {
                enabled: origins.take("history", "enabled", policy.history),
                interval: origins.take("history", "interval", policy.interval),
                keep: origins.take("history", "keep", policy.keep),
                size: origins.take("history", "size", policy.size),
            },
            log: Log {
                level: origins.take("log", "level", self.level),
                bpf_level: origins.take("log", "bpf_level", self.bpf_level),
            },
            files: self.files,
            origins: BTreeMap::new(),
        };
        Ok(Config {
            origins: origins.0,
            ..config
        })
    }

    /// The page is for this host unless those who see it know a secret. What the service manager listens on is not
    /// known here: there the agent itself leaves the page out.
    fn check_page(&self, errors: &mut Vec<ConfigError>) {
        let (Some(listen), Some(page)) = (&self.listen, &self.alerts.page) else {
            return;
        };
        let has_token = self
            .alerts
            .token_file
            .as_ref()
            .is_some_and(|file| file.value.is_some());
        if page.value && listen.value.is_reachable_from_elsewhere() && !has_token {
            errors.push(ConfigError::Value {
                at: page.at.clone(),
                key: KeyName::new("http", "page"),
                value: page.quote.clone(),
                problem: format!(
                    "would show the page to other hosts, as listen = {} ({}): set token_file in [http] (docs/web.md), \
                     or listen on \"127.0.0.1:9757\"",
                    listen.quote, listen.at
                ),
            });
        }
    }

    fn check_thresholds(&self, errors: &mut Vec<ConfigError>) {
        let ram_high = ("ram_high", &self.ram_high);
        let ends = "or the situation would never end";
        let starts = "or there would be no high situation before the critical one";
        below(ram_high, ("ram_critical", &self.ram_critical), starts, errors);
        below(("hysteresis", &self.hysteresis), ram_high, ends, errors);
        below(
            ("hysteresis", &self.hysteresis),
            ("swap_high", &self.swap_high),
            ends,
            errors,
        );
        below(
            ("hysteresis", &self.hysteresis),
            ("compressed_high", &self.compressed_high),
            ends,
            errors,
        );
    }
}

/// Requires `low < high`; the error stands where the later of the two was set and names the other place.
fn below(
    (low_key, low): (&str, &Option<Set<f64>>),
    (high_key, high): (&str, &Option<Set<f64>>),
    why: &str,
    errors: &mut Vec<ConfigError>,
) {
    let (Some(low), Some(high)) = (low, high) else {
        return;
    };
    if low.value < high.value {
        return;
    }
    let order = |set: &Set<f64>| (set.layer, set.at.line, set.at.column);
    let ((key, set), (other_key, other), relation) = if order(low) > order(high) {
        ((low_key, low), (high_key, high), "below")
    } else {
        ((high_key, high), (low_key, low), "above")
    };
    errors.push(ConfigError::Value {
        at: set.at.clone(),
        key: KeyName::new("thresholds", key),
        value: set.quote.clone(),
        problem: format!(
            "is not {relation} {other_key} = {} ({}): it must be, {why}; change one of the two",
            other.quote, other.at
        ),
    });
}

/// Collects where values come from.
#[derive(Default)]
struct Origins(BTreeMap<(String, String), Location>);

impl Origins {
    fn note<T>(&mut self, table: &str, key: &str, set: Set<T>) -> T {
        self.0.insert((table.to_owned(), key.to_owned()), set.at);
        set.value
    }

    fn take<T>(&mut self, table: &str, key: &str, set: Option<Set<T>>) -> T {
        self.note(
            table,
            key,
            set.expect("the built-in defaults set every key, which a test checks"),
        )
    }
}
