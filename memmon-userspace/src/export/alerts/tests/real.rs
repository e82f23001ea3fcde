//! Debian's own Alertmanager.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
};

use super::*;
use crate::{source::proc::monotonic_ns, testing::tool};

const TEMPLATES: &str = "/usr/share/prometheus/alertmanager/default.tmpl";
const DEADLINE: Duration = Duration::from_secs(60);

struct Alertmanager {
    process: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Alertmanager {
    fn start() -> Option<Self> {
        // The program alone is not enough: it does not start without its templates. Virtual machines have both.
        if !Path::new(TEMPLATES).exists() {
            println!("skipped: {TEMPLATES} is not installed");
            return None;
        }
        let program = tool("prometheus-alertmanager")?;
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.yml");
        fs::write(&config, "route: {receiver: none}\nreceivers: [{name: none}]\n").unwrap();
        // Free a moment ago: good enough for a test.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", dir.path().display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--cluster.listen-address=", "--web.route-prefix=/am"])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self {
            process,
            port,
            _dir: dir,
        })
    }

    /// The alerts it knows, those that are over included; `None` while it does not answer.
    async fn alerts(&self, query: &str) -> Option<Vec<serde_json::Value>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!("GET /am/api/v2/{query} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    async fn until(&self, what: &str, holds: impl Fn(&[serde_json::Value]) -> bool) {
        let waited = tokio::time::timeout(DEADLINE, async {
            loop {
                if self.alerts("alerts").await.is_some_and(|alerts| holds(&alerts)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}: {:?}", self.alerts("alerts").await);
    }
}

/// It is told before it is up, takes the alarm when it is, keeps it as one when it is told twice, and lets it end.
#[tokio::test]
async fn a_real_alertmanager_takes_an_alarm_and_its_end() {
    let Some(alertmanager) = Alertmanager::start() else {
        return;
    };
    let uri = format!("http://127.0.0.1:{}/am/", alertmanager.port);
    let now = MonoTime(monotonic_ns());
    let (publish, watching) = watch::channel(board(&[alert("a", now), alert("b", now)]));
    for _ in 0..2 {
        let target = Sender::Alertmanager(uri.parse().unwrap());
        tokio::spawn(deliver(target, "host-1".to_owned(), watching.clone()));
    }
    alertmanager
        .until("both alarms are on", |alerts| alerts.len() == 2)
        .await;
    let alerts = alertmanager.alerts("alerts").await.unwrap();
    let a = alerts
        .iter()
        .find(|alert| alert["labels"]["unit"] == "a.service")
        .unwrap();
    assert_eq!(a["labels"]["alertname"], "MemmonCriticalSwap");
    assert_eq!(a["labels"]["instance"], "host-1");
    assert_eq!(a["labels"]["severity"], "critical");
    assert_eq!(a["annotations"]["description"], "kswapd took it");
    assert_eq!(a["status"]["state"], "active");
    publish.send_modify(|board| board.clear("a", 1, MonoTime(monotonic_ns())));
    // It shows only alerts that are on.
    alertmanager
        .until("the first is over", |alerts| {
            alerts.len() == 1 && alerts[0]["labels"]["unit"] == "b.service"
        })
        .await;
}
