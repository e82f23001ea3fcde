//! Reports of a host on which a backup pushes a critical unit out.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

/// When all this begins.
static START: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// So many seconds after the agent has started, which it did three hours ago.
fn at(seconds: u64) -> String {
    let started = *START - Duration::from_secs(3 * 3600 + 12 * 60);
    humantime::format_rfc3339_micros(started + Duration::from_secs(seconds)).to_string()
}

/// The backup loses ever more, and from the third step on the critical unit has lost three pages, and no more.
pub(crate) fn report(step: u64) -> Value {
    let alarm = step >= 3;
    let lost = if alarm { 3 } else { 0 };
    let backup = 9_000 + step * step / 8;
    // Three hours and twelve minutes.
    let now = 11_520;
    let units = [
        unit(
            "omnimind.service",
            "critical",
            4_200,
            lost / 3,
            lost,
            json!("max"),
        ),
        unit(
            "omnimind-frontend.service",
            "medium",
            610,
            24,
            40 + step / 3,
            json!("max"),
        ),
        unit("omnimind-core.service", "high", 1_340, 0, 0, json!("max")),
        unit("omnimind-daemon.service", "high", 388, 0, 0, json!("max")),
        unit("backup.service", "low", 1_530, 310, backup, json!(536_870_912)),
        unit("postgresql@15-main.service", "medium", 820, 64, 120, json!("max")),
        unit("systemd-journald.service", "observe", 46, 3, 12, json!("max")),
        unit("dbus.service", "observe", 5, 1, 2, json!("max")),
        unit("ssh.service", "observe", 9, 2, 5, json!("max")),
        unit("session-4.scope", "observe", 71, 11, 30 + step / 20, json!("max")),
        unit("cron.service", "observe", 3, 0, 1, json!("max")),
        unit("systemd-udevd.service", "observe", 14, 1, 3, json!("max")),
    ];
    let mut units: Vec<Value> = units.into();
    if alarm {
        units[0]["leases"] = json!([{
            "property": "MemorySwapMax", "old": "max", "new": 0,
            "reason": "3 pages were swapped out by direct reclaim of backup.service",
            "since": at(now), "deadline": at(now + 600)
        }]);
        units[0]["limits"]["swap_max"] = json!(0);
    }
    let alarms = json!([{
        "id": "2f1c3a9d77-1", "unit": "omnimind.service", "severity": "critical",
        "reason": "3 pages of omnimind.service went to swap: backup.service reclaims directly",
        "since": at(now), "pages": lost, "region": "embeddings"
    }]);
    let mut blame = vec![
        json!({"victim": "backup.service", "reclaimer": null, "kind": "kswapd", "pages": backup}),
        json!({"victim": "omnimind-frontend.service", "reclaimer": "backup.service", "kind": "direct", "pages": 40 + step / 3}),
        json!({"victim": "postgresql@15-main.service", "reclaimer": "postgresql@15-main.service", "kind": "limit", "pages": 120}),
        json!({"victim": "session-4.scope", "reclaimer": null, "kind": "kswapd", "pages": 30 + step / 20}),
    ];
    if lost > 0 {
        let pages = json!({"victim": "omnimind.service", "reclaimer": "backup.service", "kind": "direct", "pages": lost});
        blame.push(pages);
    }
    json!({
        "schema": "memmon.report/1",
        "system": {
            "ram_used": 0.83, "swap_used": 0.12,
            "psi": {"some": pressure(6.4), "full": pressure(1.2)},
            "situation": if step >= 2 { "high" } else { "normal" }, "swap_high": false
        },
        "units": units,
        "blame": blame,
        "strategies": [{
            "action": "reclaim_cache", "unit": "backup.service", "amount": 268_435_456,
            "reason": "its file cache is the largest of those with priority low", "applied": true, "error": null
        }],
        "attribution": "exact",
        "agent": {
            "version": "0.1.0", "since": at(0), "dry_run": false, "degraded": [],
            "events_lost": {"records": 0, "overflow_pages": 0, "unattributed_pages": 0, "missed_events": 0},
            "tagged_processes": 1, "tagged_ranges": 2
        },
        "alarms": if alarm { alarms } else { json!([]) },
        "regions": [
            {"unit": "omnimind.service", "label": "embeddings", "pid": 412, "pages": 52_000, "swapout_pages": lost,
             "bring_back": {"asked_pages": 3, "back_pages": 3, "still_out_pages": 0, "reason": null}},
            {"unit": "omnimind.service", "label": "kv-cache", "pid": 412, "pages": 18_000, "swapout_pages": 0, "bring_back": null}
        ]
    })
}

fn pressure(avg10: f64) -> Value {
    json!({"avg10": avg10, "avg60": avg10 / 4.0, "avg300": avg10 / 16.0, "total": 123_456})
}

fn unit(name: &str, priority: &str, memory_mib: u64, swap_mib: u64, out: u64, swap_max: Value) -> Value {
    let busy = if out > 100 { 3.1 } else { 0.0 };
    json!({
        "unit": name, "priority": priority, "cgroup": format!("/system.slice/{name}"),
        "memory_bytes": memory_mib << 20, "swap_bytes": swap_mib << 20,
        "swapout_pages": out, "swapin_pages": out / 3,
        "critical_pages_swapped": if priority == "critical" { out } else { 0 },
        "stall_seconds": out as f64 / 1e4,
        "psi": {"some": pressure(busy), "full": pressure(busy / 2.0)},
        "limits": {"memory_min": 0, "memory_low": 0, "memory_high": "max", "memory_max": 8_589_934_592_u64, "swap_max": swap_max},
        "leases": []
    })
}
