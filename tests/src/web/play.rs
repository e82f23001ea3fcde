//! What the made-up agent reports: a host whose state is told from outside.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use memmon::{
    config::Priority,
    decode::{Limit, rfc3339},
    export::json::report::{
        AgentField, AlarmField, BlameField, LeaseField, LimitsField, LostField, PsiField, PsiLine,
        RegionField, ReportDocument, SystemField, UnitField,
    },
    policy::{AlarmKind, Situation},
};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
const RAM: u64 = 16 * GIB;
const SWAP: u64 = 4 * GIB;
/// Whose alarm is raised.
pub const CRITICAL: &str = "omnimind.service";
/// Who causes it.
pub const CULPRIT: &str = "backup.service";

/// What the host is going through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Little happens.
    Calm,
    /// A backup fills RAM, and pages of a critical unit go to swap.
    Storm,
    /// The agent does not answer.
    Silent,
}

/// Name, priority, memory in MiB, swap in MiB, `memory.max` in MiB.
const UNITS: &[(&str, Priority, u64, u64, Option<u64>)] = &[
    (CRITICAL, Priority::Critical, 4300, 0, Some(6144)),
    ("omnimind-core.service", Priority::High, 1450, 12, Some(2048)),
    ("omnimind-daemon.service", Priority::High, 310, 0, None),
    ("omnimind-frontend.service", Priority::Medium, 240, 31, None),
    (CULPRIT, Priority::Low, 900, 140, Some(4096)),
    ("batch@nightly.service", Priority::Low, 610, 260, None),
    ("postgresql@15-main.service", Priority::Medium, 1200, 44, None),
    ("nginx.service", Priority::Observe, 64, 3, None),
    ("ssh.service", Priority::Observe, 9, 1, None),
    ("cron.service", Priority::Observe, 4, 0, None),
    ("user@1000.service", Priority::Observe, 780, 96, None),
    ("systemd-journald.service", Priority::Observe, 42, 2, None),
    ("systemd-udevd.service", Priority::Observe, 7, 0, None),
    ("dbus.service", Priority::Observe, 5, 0, None),
    ("rsyslog.service", Priority::Observe, 11, 1, None),
    ("systemd-logind.service", Priority::Observe, 6, 0, None),
];

#[derive(Debug)]
struct State {
    scene: Scene,
    /// The agent's start.
    since: Duration,
    last: Duration,
    /// 0 when calm, 1 at the height of a storm.
    intensity: f64,
    /// Counters by unit: pages out, pages back, seconds stalled.
    out: Vec<f64>,
    back: Vec<f64>,
    stalled: Vec<f64>,
    critical_pages: f64,
    alarm: Option<Duration>,
    alarms: u32,
}

/// The made-up host. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Play(Arc<Mutex<State>>);

impl Play {
    /// A calm host whose agent starts now.
    pub fn begin() -> Self {
        let now = wall();
        Self(Arc::new(Mutex::new(State {
            scene: Scene::Calm,
            since: now,
            last: now,
            intensity: 0.0,
            out: UNITS.iter().map(|unit| (unit.3 * 256) as f64 * 1.4).collect(),
            back: UNITS.iter().map(|unit| (unit.3 * 256) as f64 * 0.4).collect(),
            stalled: vec![0.0; UNITS.len()],
            critical_pages: 0.0,
            alarm: None,
            alarms: 0,
        })))
    }

    /// Changes what happens.
    pub fn set(&self, scene: Scene) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.scene = scene;
        match scene {
            Scene::Storm => {
                state.alarms += 1;
                state.alarm = Some(wall());
            }
            _ => state.alarm = None,
        }
    }

    /// The report at this moment; `None` if the agent does not answer.
    pub fn report(&self) -> Option<ReportDocument> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance();
        (state.scene != Scene::Silent).then(|| state.report())
    }
}

impl State {
    fn advance(&mut self) {
        let now = wall();
        let passed = (now - self.last).as_secs_f64();
        self.last = now;
        let aim = if self.scene == Scene::Storm { 1.0 } else { 0.0 };
        self.intensity += (aim - self.intensity) * (passed / 4.0).min(1.0);
        let time = now.as_secs_f64();
        for (index, (name, priority, ..)) in UNITS.iter().enumerate() {
            let wave = (1.0 + (time / 7.0 + index as f64 * 1.7).sin()) / 2.0;
            let (calm, storm) = match *priority {
                _ if *name == CRITICAL => (0.0, 140.0),
                Priority::Low => (6.0, 900.0),
                Priority::Observe => (0.5, 60.0),
                _ => (1.5, 240.0),
            };
            let pages = (calm + (storm - calm) * self.intensity) * (0.6 + 0.8 * wave) * passed;
            self.out[index] += pages;
            self.back[index] += pages * 0.3;
            self.stalled[index] += pages * 0.000_08;
            if *name == CRITICAL {
                self.critical_pages += pages;
            }
        }
    }

    fn report(&self) -> ReportDocument {
        let time = self.last.as_secs_f64();
        let wave = (time / 11.0).sin() * 0.012;
        let ram_used = 0.61 + 0.31 * self.intensity + wave;
        let swap_used = 0.14 + 0.4 * self.intensity + wave / 2.0;
        let mut units: Vec<UnitField> = (0..UNITS.len()).map(|index| self.unit(index)).collect();
        // One that an older kernel tells less of.
        if let Some(unit) = units.iter_mut().find(|unit| unit.unit == "cron.service") {
            (unit.swap_bytes, unit.swapin_pages, unit.stall_seconds) = (None, None, None);
        }
        ReportDocument {
            schema: "memmon.report/1",
            system: SystemField {
                ram_used,
                swap_used: Some(swap_used),
                psi: Some(self.pressure()),
                situation: match ram_used {
                    used if used >= 0.9 => Situation::Critical,
                    used if used >= 0.8 => Situation::High,
                    _ => Situation::Normal,
                },
                swap_high: swap_used >= 0.5,
            },
            units,
            blame: Some(self.blame()),
            forecast: None,
            strategies: Vec::new(),
            attribution: "exact",
            agent: Some(AgentField {
                version: env!("CARGO_PKG_VERSION"),
                since: rfc3339(0, nanos(self.since)),
                dry_run: false,
                degraded: Vec::new(),
                events_lost: LostField::default(),
                tagged_processes: 1,
                tagged_ranges: 2,
            }),
            alarms: Some(self.alarm().into_iter().collect()),
            regions: Some(vec![RegionField {
                unit: CRITICAL.to_owned(),
                label: "embeddings".to_owned(),
                // Must never be on the page.
                pid: Some(4_242_424),
                pages: 262_144,
                swapout_pages: Some(whole(self.critical_pages)),
                bring_back: None,
                uid: 998,
            }]),
        }
    }

    fn unit(&self, index: usize) -> UnitField {
        let (name, priority, memory, swap, max) = UNITS[index];
        let grows = if name == CULPRIT { 2600.0 } else { -40.0 };
        let memory_mib = (memory as f64 + grows * self.intensity).max(3.0);
        let swapped = (self.out[index] - self.back[index]) * 4096.0;
        let leases = match self.alarm {
            Some(since) if name == CRITICAL => vec![LeaseField {
                property: "MemorySwapMax",
                old: Some(Limit::Max),
                new: Limit::Bytes(whole(self.critical_pages) * 4096),
                reason: "pages were swapped out by a limit that backup.service hit".to_owned(),
                since: rfc3339(0, nanos(since)),
                deadline: Some(rfc3339(0, nanos(since + Duration::from_secs(600)))),
            }],
            _ => Vec::new(),
        };
        UnitField {
            unit: name.to_owned(),
            priority,
            cgroup: Some(format!("/system.slice/{name}")),
            memory_bytes: Some(whole(memory_mib * MIB as f64)),
            swap_bytes: Some(if swap == 0 && name != CRITICAL {
                0
            } else {
                whole(swapped)
            }),
            swapout_pages: Some(whole(self.out[index])),
            swapin_pages: Some(whole(self.back[index])),
            critical_pages_swapped: Some(if name == CRITICAL {
                whole(self.critical_pages)
            } else {
                0
            }),
            stall_seconds: Some(self.stalled[index]),
            limits: LimitsField {
                memory_min: Some(Limit::Bytes(0)),
                memory_low: Some(Limit::Bytes(0)),
                memory_high: Some(Limit::Max),
                memory_max: Some(max.map_or(Limit::Max, |mib| Limit::Bytes(mib * MIB))),
                swap_max: Some(Limit::Max),
            },
            leases: Some(leases),
            psi: None,
        }
    }

    fn pressure(&self) -> PsiField {
        let line = |share: f64| PsiLine {
            avg10: 0.2 + 38.0 * self.intensity * share,
            avg60: 0.1 + 21.0 * self.intensity * share,
            avg300: 0.1 + 6.0 * self.intensity * share,
            total: whole(self.stalled.iter().sum::<f64>() * 1e6 * share),
        };
        PsiField {
            some: line(1.0),
            full: line(0.4),
        }
    }

    fn blame(&self) -> Vec<BlameField> {
        let pair = |victim: &str, reclaimer: Option<&str>, kind, pages: f64| BlameField {
            victim: victim.to_owned(),
            reclaimer: reclaimer.map(str::to_owned),
            kind,
            pages: whole(pages),
        };
        let mut blame = vec![
            pair("batch@nightly.service", None, "kswapd", self.out[5] * 0.8),
            pair(
                "batch@nightly.service",
                Some(CULPRIT),
                "direct",
                self.out[5] * 0.2,
            ),
            pair("user@1000.service", None, "kswapd", self.out[10]),
            pair("postgresql@15-main.service", None, "kswapd", self.out[6]),
            pair(CULPRIT, Some(CULPRIT), "limit", self.out[4]),
        ];
        if self.critical_pages >= 1.0 {
            blame.push(pair(CRITICAL, Some(CULPRIT), "direct", self.critical_pages));
        }
        blame.sort_by_key(|pair| std::cmp::Reverse(pair.pages));
        blame
    }

    fn alarm(&self) -> Option<AlarmField> {
        let since = self.alarm?;
        let pages = whole(self.critical_pages);
        Some(AlarmField {
            id: format!("demo-{}", self.alarms),
            unit: CRITICAL.to_owned(),
            kind: AlarmKind::SwapOut,
            severity: "critical",
            reason: format!(
                "{pages} pages of {CRITICAL} went to swap: {CULPRIT} (tar) found the host short of free pages"
            ),
            since: rfc3339(0, nanos(since)),
            pages,
            region: Some("embeddings".to_owned()),
        })
    }
}

/// RAM and swap of the made-up host, bytes.
pub const fn sizes() -> (u64, u64) {
    (RAM, SWAP)
}

/// Name, memory and swap in bytes, and `memory.max`, of each unit.
pub fn units() -> impl Iterator<Item = (&'static str, u64, u64, Option<u64>)> {
    UNITS
        .iter()
        .map(|&(name, _, memory, swap, max)| (name, memory * MIB, swap * MIB, max.map(|max| max * MIB)))
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made-up counts, positive and small"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}
