//! Prometheus and Alertmanager inside the machine, from Debian's packages on a disk of their own.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Ctx, ctx::PAYLOAD, http, shell, undo::Undo};

const DISK: &str = "/dev/vde";
const MOUNT: &str = "/run/monitoring";
/// Where Alertmanager looks for its templates, whatever it is told.
const TEMPLATES: &str = "/usr/share/prometheus";
const CONFIG: &str = "/etc/monitoring-test";
/// Prometheus' port.
pub const PROMETHEUS: u16 = 9090;
/// Alertmanager's port.
pub const ALERTMANAGER: u16 = 9093;

/// Both, running.
#[derive(Clone, Copy, Debug)]
pub struct Monitoring;

impl Ctx {
    /// Starts both: Prometheus scrapes memmon every second, evaluates the shipped rules every second and tells
    /// Alertmanager.
    ///
    /// # Errors
    /// If one does not get ready.
    pub fn monitoring(&self) -> Result<Monitoring> {
        if !Path::new(MOUNT).exists() {
            fs::create_dir(MOUNT).with_context(|| format!("creating {MOUNT}"))?;
        }
        self.undo().note(&Undo::Unmount(MOUNT.into()))?;
        shell::run("mount", &["-t", "ext4", "-o", "ro", DISK, MOUNT])?;
        self.undo().note(&Undo::Remove(TEMPLATES.into()))?;
        symlink(format!("{MOUNT}{TEMPLATES}"), TEMPLATES).with_context(|| format!("linking {TEMPLATES}"))?;
        let rules = format!("{PAYLOAD}/packaging/prometheus/memmon.rules.yml");
        self.write_file(
            format!("{CONFIG}/prometheus.yml"),
            &format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
                 rule_files: [{rules}]\n\
                 alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{ALERTMANAGER}']}}]}}]}}\n\
                 scrape_configs: [{{job_name: memmon, static_configs: [{{targets: ['127.0.0.1:9757']}}]}}]\n"
            ),
        )?;
        self.write_file(
            format!("{CONFIG}/alertmanager.yml"),
            "route: {receiver: none}\nreceivers: [{name: none}]\n",
        )?;
        self.transient_unit(
            "test-alertmanager.service",
            &["Type=exec", "PrivateTmp=yes"],
            &[
                &format!("{MOUNT}/usr/bin/prometheus-alertmanager"),
                &format!("--config.file={CONFIG}/alertmanager.yml"),
                "--storage.path=/tmp/alertmanager",
                &format!("--web.listen-address=127.0.0.1:{ALERTMANAGER}"),
                "--cluster.listen-address=",
            ],
        )?;
        self.transient_unit(
            "test-prometheus.service",
            &["Type=exec", "PrivateTmp=yes"],
            &[
                &format!("{MOUNT}/usr/bin/prometheus"),
                &format!("--config.file={CONFIG}/prometheus.yml"),
                "--storage.tsdb.path=/tmp/prometheus",
                &format!("--web.listen-address=127.0.0.1:{PROMETHEUS}"),
            ],
        )?;
        for (port, name) in [(ALERTMANAGER, "Alertmanager"), (PROMETHEUS, "Prometheus")] {
            self.wait(&format!("{name} is ready"), || {
                Ok(matches!(http::get(port, "/-/ready")?, Some((200, _))).then_some(()))
            })?;
        }
        Ok(Monitoring)
    }
}

impl Monitoring {
    /// What Prometheus answers to a query: its vector's metrics with their values.
    ///
    /// # Errors
    /// If it does not answer with a vector.
    pub fn query(self, query: &str) -> Result<Vec<(Value, String)>> {
        // The characters that queries here have and that a path must not.
        let query = query
            .replace('{', "%7B")
            .replace('}', "%7D")
            .replace('"', "%22")
            .replace(' ', "%20");
        let answer = json(PROMETHEUS, &format!("/api/v1/query?query={query}"))?;
        let results = answer["data"]["result"]
            .as_array()
            .with_context(|| format!("Prometheus answered {answer}"))?;
        let value = |result: &Value| result["value"][1].as_str().unwrap_or_default().to_owned();
        Ok(results
            .iter()
            .map(|result| (result["metric"].clone(), value(result)))
            .collect())
    }

    /// The alerts that are on in Alertmanager, about one unit.
    ///
    /// # Errors
    /// If it does not answer with a list.
    pub fn alerts(self, unit: &str) -> Result<Vec<Value>> {
        let answer = json(ALERTMANAGER, "/api/v2/alerts")?;
        let alerts = answer
            .as_array()
            .with_context(|| format!("Alertmanager answered {answer}"))?;
        let about = |alert: &&Value| alert["labels"]["unit"] == unit && alert["status"]["state"] == "active";
        Ok(alerts.iter().filter(about).cloned().collect())
    }
}

fn json(port: u16, path: &str) -> Result<Value> {
    let (status, body) = http::get(port, path)?.with_context(|| format!("nobody listens on port {port}"))?;
    ensure!(status == 200, "port {port} answered {status}: {body}");
    serde_json::from_str(&body).with_context(|| format!("port {port} answered {body}"))
}
