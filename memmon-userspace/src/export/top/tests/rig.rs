//! A model that is fed by hand, on a screen that is a buffer.

use std::time::{Duration, UNIX_EPOCH};

use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};
use serde_json::{Value, json};

use crate::export::top::{Command, Look, Model, Moment, Report, draw};

/// A host with three units at the second `at`, where each has lost so many pages.
pub(super) fn document(out: [u64; 3]) -> Value {
    let unit = |name: &str, priority: &str, memory: u64, out: u64| {
        json!({
            "unit": name, "priority": priority, "cgroup": format!("/system.slice/{name}"),
            "memory_bytes": memory, "swap_bytes": out * 4096, "swapout_pages": out, "swapin_pages": out / 2,
            "critical_pages_swapped": if priority == "critical" { out } else { 0 }, "stall_seconds": 0.002,
            "psi": psi(), "leases": [],
            "limits": {"memory_min": 0, "memory_low": 0, "memory_high": "max", "memory_max": 8_589_934_592_u64,
                       "swap_max": "max"}
        })
    };
    let blame = |victim: &str, by: Value, kind: &str, pages: u64| {
        (pages > 0).then(|| json!({"victim": victim, "reclaimer": by, "kind": kind, "pages": pages}))
    };
    let blame: Vec<Value> = [
        blame("omnimind.service", json!("backup.service"), "direct", out[0]),
        blame("backup.service", Value::Null, "kswapd", out[1]),
    ]
    .into_iter()
    .flatten()
    .collect();
    json!({
        "schema": "memmon.report/1",
        "system": {"ram_used": 0.83, "swap_used": 0.12, "psi": psi(), "situation": "high", "swap_high": false},
        "units": [
            unit("omnimind.service", "critical", 4 << 30, out[0]),
            unit("backup.service", "low", 812 << 20, out[1]),
            unit("a-service-with-a-name-that-is-longer-than-any-column.service", "observe", 3 << 20, out[2]),
        ],
        "blame": blame,
        "strategies": [{
            "action": "reclaim_cache", "unit": "backup.service", "amount": 268_435_456,
            "reason": "its file cache is the largest", "applied": true, "error": null
        }],
        "attribution": "exact",
        "agent": {
            "version": "0.1.0", "since": "2026-01-02T03:00:00.000000Z", "dry_run": false, "degraded": [],
            "events_lost": {"records": 0}, "tagged_processes": 1, "tagged_ranges": 2
        },
        "alarms": [],
        "regions": [{
            "unit": "omnimind.service", "label": "embeddings", "pid": 412, "pages": 512, "swapout_pages": 2,
            "bring_back": {"asked_pages": 2, "back_pages": 1, "still_out_pages": 1, "reason": "no headroom"}
        }]
    })
}

fn psi() -> Value {
    let line = json!({"avg10": 1.5, "avg60": 0.4, "avg300": 0.1, "total": 123_456});
    json!({"some": line, "full": line})
}

/// Adds an alarm about the critical unit, and the lease that answers it.
pub(super) fn with_alarm(mut document: Value) -> Value {
    document["alarms"] = json!([{
        "id": "a-1", "unit": "omnimind.service", "severity": "critical",
        "reason": "2 pages of omnimind.service went to swap: backup.service reclaims directly",
        "since": "2026-01-02T03:04:05.681000Z", "pages": 2, "region": "embeddings"
    }]);
    document["units"][0]["leases"] = json!([{
        "property": "MemorySwapMax", "old": "max", "new": 0, "reason": "2 pages were swapped out",
        "since": "2026-01-02T03:04:05.681000Z", "deadline": "2026-01-02T03:14:05.681000Z"
    }]);
    document["units"][0]["limits"]["swap_max"] = json!(0);
    document
}

pub(super) struct Rig {
    pub(super) model: Model,
    /// Seconds since the program started.
    pub(super) second: u64,
}

pub(super) const PLAIN: Look = Look {
    colour: false,
    unicode: false,
};
pub(super) const FULL: Look = Look {
    colour: true,
    unicode: true,
};

impl Rig {
    pub(super) fn new(look: Look) -> Self {
        Self {
            model: Model::new(look, "host1", Duration::from_secs(1)),
            second: 0,
        }
    }

    /// 2026-01-02T03:05:00Z and some seconds.
    pub(super) fn now(&self) -> Moment {
        let up = Duration::from_secs(self.second);
        Moment::new(up, UNIX_EPOCH + Duration::from_secs(1_767_323_100) + up)
    }

    /// A second later there is this report.
    pub(super) fn report(&mut self, document: &Value) {
        self.second += 1;
        let report = Report::parse(&document.to_string()).expect("a report");
        let now = self.now();
        self.model.update(report, &now);
    }

    pub(super) fn press(&mut self, code: KeyCode) -> Command {
        let now = self.now();
        self.model.key(&KeyEvent::new(code, KeyModifiers::NONE), &now)
    }

    pub(super) fn keys(&mut self, keys: &str) {
        for c in keys.chars() {
            self.press(KeyCode::Char(c));
        }
    }

    pub(super) fn draw(&mut self, width: u16, height: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a buffer");
        let now = self.now();
        terminal
            .draw(|frame| draw(frame, &mut self.model, &now))
            .expect("drawn");
        terminal.backend().buffer().clone()
    }

    pub(super) fn screen(&mut self, width: u16, height: u16) -> String {
        lines(&self.draw(width, height)).join("\n")
    }
}

/// The text of each line.
pub(super) fn lines(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    (0..area.height)
        .map(|y| {
            let line: String = (0..area.width).map(|x| buffer[(x, y)].symbol()).collect();
            line.trim_end().to_owned()
        })
        .collect()
}
