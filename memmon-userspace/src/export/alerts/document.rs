//! What is sent, as JSON.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::Alert;
use crate::{
    decode::rfc3339,
    policy::{AlarmKind, MonoTime},
};

/// What all messages of a process have in common.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// Name of this host.
    pub(super) host: String,
    /// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, nanoseconds.
    pub(super) clock_offset: i128,
}

/// The name of the alerts of a kind, and what to do about it: the page that is installed with memmon.
const fn name(kind: AlarmKind) -> (&'static str, &'static str) {
    match kind {
        AlarmKind::SwapOut => (
            "MemmonCriticalSwap",
            "file:///usr/share/doc/memmon/runbooks.md#memmoncriticalswap",
        ),
        AlarmKind::Forecast => (
            "MemmonExhaustion",
            "file:///usr/share/doc/memmon/runbooks.md#memmonexhaustion",
        ),
    }
}

#[derive(Debug, Serialize)]
struct AlertmanagerAlert<'a> {
    labels: Labels<'a>,
    annotations: Annotations<'a>,
    #[serde(rename = "startsAt")]
    starts_at: String,
    #[serde(rename = "endsAt")]
    ends_at: String,
}

/// What Alertmanager takes two alerts for the same by.
#[derive(Debug, Serialize)]
struct Labels<'a> {
    alertname: &'a str,
    instance: &'a str,
    severity: &'a str,
    unit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Annotations<'a> {
    summary: String,
    description: &'a str,
    runbook_url: &'a str,
}

/// The body of `POST /api/v2/alerts`. An alarm that is on ends `lasting` from now, unless Alertmanager is reminded:
/// if this agent dies, its alerts do not stay for ever.
pub(super) fn alertmanager(
    context: &Context,
    alerts: &[Arc<Alert>],
    now: MonoTime,
    lasting: Duration,
) -> serde_json::Result<Vec<u8>> {
    let time = |time: MonoTime| rfc3339(time.0, context.clock_offset);
    let alerts: Vec<_> = alerts
        .iter()
        .map(|alert| AlertmanagerAlert {
            labels: Labels {
                alertname: name(alert.kind).0,
                instance: &context.host,
                severity: alert.severity.as_str(),
                unit: &alert.unit,
                resource: alert.resource.as_deref(),
            },
            annotations: Annotations {
                summary: summary(context, alert),
                description: &alert.reason,
                runbook_url: name(alert.kind).1,
            },
            starts_at: time(alert.since),
            ends_at: time(alert.over.unwrap_or_else(|| now.after(lasting))),
        })
        .collect();
    serde_json::to_vec(&alerts)
}

/// `memmon.alerts/1`: what webhooks get.
#[derive(Debug, Serialize)]
struct Message<'a> {
    schema: &'static str,
    host: &'a str,
    alerts: Vec<Told<'a>>,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    id: &'a str,
    status: &'static str,
    kind: AlarmKind,
    resource: Option<&'a str>,
    unit: &'a str,
    severity: &'a str,
    summary: String,
    reason: &'a str,
    pages: u64,
    starts_at: String,
    ends_at: Option<String>,
}

/// The document for webhooks and programs.
pub(super) fn message(context: &Context, alerts: &[Arc<Alert>]) -> serde_json::Result<Vec<u8>> {
    let time = |time: MonoTime| rfc3339(time.0, context.clock_offset);
    let alerts = alerts
        .iter()
        .map(|alert| Told {
            id: &alert.id,
            status: if alert.over.is_some() {
                "resolved"
            } else {
                "firing"
            },
            kind: alert.kind,
            resource: alert.resource.as_deref(),
            unit: &alert.unit,
            severity: alert.severity.as_str(),
            summary: summary(context, alert),
            reason: &alert.reason,
            pages: alert.pages,
            starts_at: time(alert.since),
            ends_at: alert.over.map(time),
        })
        .collect();
    serde_json::to_vec(&Message {
        schema: "memmon.alerts/1",
        host: &context.host,
        alerts,
    })
}

fn summary(context: &Context, alert: &Alert) -> String {
    let Context { host, .. } = context;
    let unit = &alert.unit;
    match (alert.kind, alert.over) {
        (AlarmKind::SwapOut, None) => format!("memory of {unit} on {host} is going to swap"),
        (AlarmKind::SwapOut, Some(_)) => format!("memory of {unit} on {host} stays in RAM again"),
        (AlarmKind::Forecast, None) => format!("memory of {unit} on {host} will soon be used up"),
        (AlarmKind::Forecast, Some(_)) => format!("memory of {unit} on {host} lasts again"),
    }
}
