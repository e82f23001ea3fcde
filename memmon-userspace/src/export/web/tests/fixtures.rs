//! A server with a made-up agent behind it.

use super::*;
use crate::{
    config::Priority,
    export::json::report::{
        AgentField, AlarmField, BlameField, LimitsField, LostField, RegionField, SystemField, UnitField,
    },
    policy::{AlarmKind, Situation},
};

pub(super) fn unit(name: &str, priority: Priority) -> UnitField {
    UnitField {
        unit: name.to_owned(),
        priority,
        cgroup: Some(format!("/system.slice/{name}")),
        memory_bytes: Some(1 << 30),
        swap_bytes: None,
        swapout_pages: Some(7),
        swapin_pages: None,
        critical_pages_swapped: Some(0),
        stall_seconds: Some(0.5),
        limits: LimitsField::default(),
        leases: Some(Vec::new()),
        psi: None,
    }
}

/// With a process id that nobody may see.
pub(super) fn report() -> ReportDocument {
    let region = |pid| RegionField {
        unit: "a.service".to_owned(),
        label: "cache".to_owned(),
        pid: Some(pid),
        pages: 10,
        swapout_pages: Some(1),
        bring_back: None,
        uid: 1000,
    };
    ReportDocument {
        schema: "memmon.report/1",
        system: SystemField {
            ram_used: 0.5,
            swap_used: None,
            psi: None,
            situation: Situation::Normal,
            swap_high: false,
        },
        units: vec![unit("a.service", Priority::Critical)],
        blame: Some(vec![BlameField {
            victim: "a.service".to_owned(),
            reclaimer: None,
            kind: "kswapd",
            pages: 7,
        }]),
        forecast: None,
        strategies: Vec::new(),
        attribution: "exact",
        agent: Some(AgentField {
            version: "0",
            since: "2026-01-02T03:00:00.000000Z".to_owned(),
            dry_run: false,
            degraded: Vec::new(),
            events_lost: LostField::default(),
            tagged_processes: 1,
            tagged_ranges: 2,
        }),
        alarms: Some(vec![AlarmField {
            id: "1-1".to_owned(),
            unit: "a.service".to_owned(),
            kind: AlarmKind::SwapOut,
            severity: "critical",
            reason: "7 pages".to_owned(),
            since: "2026-01-02T03:00:00.000000Z".to_owned(),
            pages: 7,
            region: None,
        }]),
        regions: Some(vec![region(4_242_424), region(4_242_425)]),
    }
}

/// Always answers `report`; counts how often it is asked.
pub(super) fn answering(report: Option<ReportDocument>) -> (Ask, Arc<AtomicUsize>) {
    let (asked, report) = (Arc::new(AtomicUsize::new(0)), report.map(Arc::new));
    let counting = Arc::clone(&asked);
    let ask: Ask = Box::new(move || {
        counting.fetch_add(1, Ordering::Relaxed);
        let report = report.clone();
        Box::pin(async move { report })
    });
    (ask, asked)
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) live: Live,
}

pub(super) fn assets() -> Assets {
    Assets::new([Asset {
        path: "/",
        media_type: "text/html; charset=utf-8",
        plain: "plain".into(),
        gzip: "squeezed".into(),
    }])
}

pub(super) fn start(guard: Guard) -> Server {
    start_with(
        guard,
        Live::new(answering(Some(report())).0),
        Path::new("/dev/null/none"),
    )
}

pub(super) fn start_with(guard: Guard, live: Live, history: &Path) -> Server {
    let listen = Listen::Tcp("127.0.0.1:0".parse().unwrap());
    let sockets = http::open(&listen).unwrap();
    let Socket::Tcp(listener) = &sockets[0] else {
        panic!("{sockets:?}")
    };
    let address = listener.local_addr().unwrap();
    let page = routes(Web {
        assets: assets(),
        live: live.clone(),
        archive: Archive::start(history.to_owned()).unwrap(),
        guard,
    });
    let metrics = http::routes(Feed::new(Box::new(|| Box::pin(async { Some(Facts::default()) }))));
    tokio::spawn(live.clone().run());
    let hosts = Hosts::new(["proxy.example".to_owned()]);
    tokio::spawn(http::serve(sockets, metrics.merge(page), hosts, limits()));
    Server { address, live }
}

impl Server {
    /// The whole answer to a request with these lines.
    pub(super) async fn exchange(&self, first: &str, more: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let host = if more.contains("Host:") {
            ""
        } else {
            "Host: localhost\r\n"
        };
        let request = format!("{first} HTTP/1.1\r\n{host}Connection: close\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(DEADLINE, stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) async fn get(&self, path: &str, more: &str) -> String {
        self.exchange(&format!("GET {path}"), more).await
    }
}

pub(super) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

/// The JSON document of an answer.
pub(super) fn document(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

pub(super) fn token() -> Guard {
    Guard::Token(Token::new(SECRET).unwrap())
}
