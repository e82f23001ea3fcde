//! The service on a bus of its own, with stand-ins for the owners of what it is asked for.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zbus::{OwnedVariant, fdo, proxy};

use super::*;
use crate::action::systemd::Bus as Address;
use crate::attribute::tags::TagError;
use crate::decode::Limit;
use crate::export::json::report::{RegionField, ReportDocument, SystemField};
use crate::policy::{Property, Severity, Situation};
use crate::testing::bus::Bus;

const NOBODY: u32 = 65_534;

#[proxy(
    default_service = "org.omnimind.memmon1",
    default_path = "/org/omnimind/memmon1",
    interface = "org.omnimind.memmon1.Manager"
)]
trait Manager {
    fn get_report(&self) -> fdo::Result<String>;
    fn dump_by_file_descriptor(&self) -> fdo::Result<zbus::OwnedFd>;
    fn tag_region(&self, start: u64, length: u64, label: &str) -> fdo::Result<u64>;
    fn untag_region(&self, id: u64) -> fdo::Result<()>;
    fn list_regions(&self) -> fdo::Result<Vec<(u32, u64, u64, u64, String)>>;
    fn list_units(&self) -> fdo::Result<Vec<(String, String, u64, u64, u64)>>;
    fn apply_strategies(&self, dry_run: bool) -> fdo::Result<String>;
    fn revert_all(&self) -> fdo::Result<()>;
    #[zbus(signal)]
    fn alarm_raised(
        &self,
        id: &str,
        unit: &str,
        severity: &str,
        reason: &str,
        details: HashMap<String, OwnedVariant>,
    ) -> zbus::Result<()>;
    #[zbus(signal)]
    fn limit_changed(&self, unit: &str, property: &str, old: u64, new: u64, reason: &str)
    -> zbus::Result<()>;
}

/// A service and the ends that its owners would have.
struct Rig {
    dir: tempfile::TempDir,
    bus: Option<Bus>,
    tags: mpsc::Receiver<TagRequest>,
    reports: mpsc::Receiver<ReportRequest>,
    orders: mpsc::Receiver<Order>,
    signals: mpsc::Sender<Signal>,
    service: JoinHandle<()>,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        // Other users connect as well.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let bus = Bus::start(dir.path());
        let (tags, tags_rx) = mpsc::channel(64);
        let (reports, reports_rx) = mpsc::channel(64);
        let (orders, orders_rx) = mpsc::channel(64);
        let (signals, signals_rx) = mpsc::channel(64);
        let doors = Doors {
            tags,
            reports,
            orders,
        };
        let service = tokio::spawn(serve(Address::Address(bus.address.clone()), doors, signals_rx));
        let rig = Self {
            dir,
            bus: Some(bus),
            tags: tags_rx,
            reports: reports_rx,
            orders: orders_rx,
            signals,
            service,
        };
        rig.client().await;
        rig
    }

    fn address(&self) -> String {
        Bus::address_in(self.dir.path())
    }

    /// A new connection, once the service is there.
    async fn client(&self) -> ManagerProxy<'static> {
        let there = async {
            loop {
                let builder = zbus::connection::Builder::address(self.address().as_str());
                if let Ok(connection) = builder.build().await
                    && let Ok(bus) = fdo::DBusProxy::new(&connection).await
                    && bus
                        .name_has_owner(NAME.try_into().expect("a name"))
                        .await
                        .is_ok_and(|there| there)
                {
                    return ManagerProxy::new(&connection).await.expect("a proxy");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), there)
            .await
            .expect("the service comes to the bus")
    }

    /// Calls a method as another user from another process, while `meanwhile` goes on.
    async fn as_nobody(&mut self, member: &str, arguments: &[&str]) -> Option<Output> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can be another user");
            return None;
        }
        let mut command = Command::new("dbus-send");
        command
            .arg(format!("--bus={}", self.address()))
            .args([
                "--print-reply",
                "--reply-timeout=10000",
                "--dest=org.omnimind.memmon1",
                PATH,
            ])
            .arg(format!("org.omnimind.memmon1.Manager.{member}"))
            .args(arguments)
            .uid(NOBODY);
        let output = tokio::task::spawn_blocking(move || command.output());
        Some(output.await.expect("no panic").expect("dbus-send"))
    }
}

fn report() -> ReportDocument {
    let region = |pid, uid| RegionField {
        unit: "a.service".to_owned(),
        label: "embeddings".to_owned(),
        pid: Some(pid),
        pages: 3,
        swapout_pages: None,
        bring_back: None,
        uid,
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
        units: Vec::new(),
        blame: None,
        strategies: Vec::new(),
        attribution: "exact",
        agent: None,
        alarms: None,
        forecast: None,
        regions: Some(vec![region(71, 0), region(72, NOBODY)]),
    }
}

/// Answers all requests for reports from now on.
fn answer_reports(mut reports: mpsc::Receiver<ReportRequest>) {
    tokio::spawn(async move {
        while let Some(request) = reports.recv().await {
            match request {
                ReportRequest::Report(answer) | ReportRequest::Glance(answer) => {
                    drop(answer.send(Ok(Arc::new(report()))))
                }
                ReportRequest::Dump(request) => {
                    drop(request.answer.send(Ok(format!("for user {}", request.uid))));
                }
                ReportRequest::Ranges(request) => {
                    let range = RangeField {
                        pid: request.uid,
                        started: 4_711,
                        start: 0x1000,
                        length: 0x2000,
                        label: "weights".to_owned(),
                    };
                    drop(request.answer.send(Ok(vec![range])));
                }
            }
        }
    });
}

fn take_reports(rig: &mut Rig) -> mpsc::Receiver<ReportRequest> {
    std::mem::replace(&mut rig.reports, mpsc::channel(1).1)
}

#[tokio::test]
async fn a_tag_is_that_of_the_calling_process() {
    let mut rig = Rig::new().await;
    let client = rig.client().await;
    let call = tokio::spawn(async move { client.tag_region(0x1000, 5, "weights").await });
    let request = rig.tags.recv().await.expect("a request");
    assert_eq!(request.process.key.pid, std::process::id());
    assert_eq!(request.process.uid, rustix::process::geteuid().as_raw());
    assert!(request.process.key.started > 0 && request.process.key.image.stack > 1);
    assert!(!request.process.handle.is_gone());
    let what = Tagging::Tag {
        start: 0x1000,
        length: 5,
        label: "weights".to_owned(),
    };
    assert_eq!(request.what, what);
    request.answer.send(Ok(77)).expect("somebody waits");
    assert_eq!(call.await.expect("no panic").expect("tagged"), 77);
}

#[tokio::test]
async fn a_refusal_has_its_kind_and_its_sentence() {
    let mut rig = Rig::new().await;
    let client = rig.client().await;
    let call = tokio::spawn(async move { (client.untag_region(5).await, client.untag_region(6).await) });
    let errors = [
        TagError::Unknown { id: 5, tags: 2 },
        TagError::AllRanges { limit: 9 },
    ];
    for error in errors {
        let request = rig.tags.recv().await.expect("a request");
        request.answer.send(Err(error.into())).expect("somebody waits");
    }
    let (unknown, full) = call.await.expect("no panic");
    assert!(matches!(unknown, Err(fdo::Error::InvalidArgs(why)) if why.contains("tag 5")));
    assert!(matches!(full, Err(fdo::Error::LimitsExceeded(why)) if why.contains('9')));
}

#[tokio::test]
async fn root_orders_and_others_may_not() {
    let mut rig = Rig::new().await;
    for (member, arguments) in [("ApplyStrategies", &["boolean:true"][..]), ("RevertAll", &[])] {
        let Some(output) = rig.as_nobody(member, arguments).await else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains("AccessDenied") && text.contains("user 65534"),
            "{member}: {text}"
        );
    }
    assert!(rig.orders.try_recv().is_err(), "nothing reaches the owner");
    let client = rig.client().await;
    let call = tokio::spawn(async move { (client.apply_strategies(true).await, client.revert_all().await) });
    match rig.orders.recv().await.expect("an order") {
        Order::Apply { dry_run, answer } => {
            assert!(dry_run);
            answer.send(Vec::new()).expect("somebody waits");
        }
        Order::RevertAll { .. } => panic!("the other one first"),
    }
    match rig.orders.recv().await.expect("an order") {
        Order::RevertAll { answer } => answer.send(()).expect("somebody waits"),
        Order::Apply { .. } => panic!("only once"),
    }
    let (strategies, reverted) = call.await.expect("no panic");
    assert_eq!(strategies.expect("an answer"), "[]");
    reverted.expect("done");
}

#[tokio::test]
async fn pids_are_for_root_and_for_their_own_user() {
    let mut rig = Rig::new().await;
    answer_reports(take_reports(&mut rig));
    let all = rig.client().await.get_report().await.expect("a report");
    if rustix::process::geteuid().is_root() {
        assert!(all.contains("\"pid\":71") && all.contains("\"pid\":72"), "{all}");
    }
    let Some(output) = rig.as_nobody("GetReport", &[]).await else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("memmon.report/1"), "{text}");
    assert!(
        text.contains("\"pid\":72") && !text.contains("\"pid\":71"),
        "{text}"
    );
}

#[tokio::test]
async fn regions_are_asked_for_the_calling_user() {
    let mut rig = Rig::new().await;
    answer_reports(take_reports(&mut rig));
    let regions = rig.client().await.list_regions().await.expect("regions");
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(regions, [(uid, 4_711, 0x1000, 0x2000, "weights".to_owned())]);
    let Some(output) = rig.as_nobody("ListRegions", &[]).await else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&format!("uint32 {NOBODY}")), "{text}");
}

#[tokio::test]
async fn a_dump_is_a_file_that_nobody_can_change() {
    let mut rig = Rig::new().await;
    answer_reports(take_reports(&mut rig));
    let fd = rig
        .client()
        .await
        .dump_by_file_descriptor()
        .await
        .expect("a descriptor");
    let mut file = std::fs::File::from(std::os::fd::OwnedFd::from(fd));
    let mut text = String::new();
    file.read_to_string(&mut text).expect("readable");
    assert_eq!(text, format!("for user {}", rustix::process::geteuid().as_raw()));
    assert!(file.set_len(0).is_err(), "sealed");
}

#[tokio::test]
async fn signals_carry_their_arguments() {
    let rig = Rig::new().await;
    let client = rig.client().await;
    let mut alarms = client.receive_alarm_raised().await.expect("a match");
    let mut limits = client.receive_limit_changed().await.expect("a match");
    let details = Details {
        pages: 3,
        priority: "critical".to_owned(),
        kind: "kswapd".to_owned(),
        reclaimer: "kswapd0".to_owned(),
        region: Some("embeddings".to_owned()),
        ..Details::default()
    };
    let raised = Signal::AlarmRaised {
        id: "1-1".to_owned(),
        unit: "a.service".to_owned(),
        severity: Severity::Critical,
        reason: "why".to_owned(),
        details,
    };
    rig.signals.send(raised).await.expect("it runs");
    let outlook = OutlookDetails {
        resource: "memory_max",
        used: 3,
        limit: 4,
        earliest: 720,
        latest: 1080,
    };
    let forecast = Signal::AlarmRaised {
        id: "1-f1".to_owned(),
        unit: "a.service".to_owned(),
        severity: Severity::Warning,
        reason: "a.service reaches MemoryMax in 12–18 min".to_owned(),
        details: Details {
            kind: "forecast".to_owned(),
            outlook: Some(outlook),
            ..Details::default()
        },
    };
    rig.signals.send(forecast).await.expect("it runs");
    let changed = Signal::LimitChanged {
        unit: "a.service".to_owned(),
        property: Property::MemorySwapMax,
        old: Limit::Max,
        new: Limit::Bytes(0),
        reason: "why".to_owned(),
    };
    rig.signals.send(changed).await.expect("it runs");
    let alarm = timeout(Duration::from_secs(30), alarms.next())
        .await
        .expect("in time")
        .expect("a signal");
    let alarm = alarm.args().expect("the arguments of the contract");
    assert_eq!(
        (alarm.id, alarm.unit, alarm.severity),
        ("1-1", "a.service", "critical")
    );
    assert_eq!(u64::try_from(&alarm.details["pages"]), Ok(3));
    assert!(alarm.details.contains_key("region") && !alarm.details.contains_key("cgroup"));
    let forecast = timeout(Duration::from_secs(30), alarms.next())
        .await
        .expect("in time")
        .expect("a signal");
    let forecast = forecast.args().expect("the arguments of the contract");
    assert_eq!((forecast.id, forecast.severity), ("1-f1", "warning"));
    let seconds = ["earliest", "latest"].map(|key| u64::try_from(&forecast.details[key]));
    assert_eq!(seconds, [Ok(720), Ok(1080)]);
    assert!(!forecast.details.contains_key("pages") && !forecast.details.contains_key("reclaimer"));
    let limit = timeout(Duration::from_secs(30), limits.next())
        .await
        .expect("in time")
        .expect("a signal");
    let limit = limit.args().expect("the arguments of the contract");
    assert_eq!(
        (limit.property, limit.old, limit.new),
        ("MemorySwapMax", u64::MAX, 0)
    );
}

#[tokio::test]
async fn a_flood_is_refused_and_the_next_call_answered() {
    let mut rig = Rig::new().await;
    let client = rig.client().await;
    // Nobody answers: the first calls stay in progress.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let client = client.clone();
        calls.spawn(async move { client.get_report().await });
    }
    for _ in 0..492 {
        let answer = timeout(Duration::from_secs(60), calls.join_next()).await;
        let answer = answer
            .expect("refused at once")
            .expect("a call")
            .expect("no panic");
        assert!(matches!(answer, Err(fdo::Error::LimitsExceeded(_))), "{answer:?}");
    }
    let ninth = timeout(Duration::from_millis(300), calls.join_next()).await;
    assert!(ninth.is_err(), "eight calls wait for their answers");
    answer_reports(take_reports(&mut rig));
    client.get_report().await.expect("room again");
}

#[tokio::test]
async fn wrong_types_are_an_error_and_nothing_else() {
    let mut rig = Rig::new().await;
    let client = rig.client().await;
    let call = client
        .inner()
        .call::<_, _, u64>("TagRegion", &("not", "numbers", 3_u8))
        .await;
    assert!(call.is_err());
    let none = client.inner().call::<_, _, ()>("NoSuchMethod", &()).await;
    assert!(none.is_err_and(|error| error.to_string().contains("NoSuchMethod")));
    answer_reports(take_reports(&mut rig));
    client.get_report().await.expect("it still answers");
}

#[tokio::test]
async fn it_comes_back_with_the_bus_and_ends_with_the_agent() {
    let mut rig = Rig::new().await;
    drop(rig.bus.take());
    // Nobody hears it, and nobody waits for it.
    rig.signals
        .send(Signal::AlarmCleared { id: "1-1".to_owned() })
        .await
        .expect("it runs");
    rig.bus = Some(Bus::start(rig.dir.path()));
    let client = rig.client().await;
    answer_reports(take_reports(&mut rig));
    client.get_report().await.expect("an answer");
    drop(rig.signals);
    timeout(Duration::from_secs(30), rig.service)
        .await
        .expect("it ends")
        .expect("no panic");
}

#[tokio::test]
async fn introspection_is_what_is_shipped() {
    let rig = Rig::new().await;
    let client = rig.client().await;
    let connection = client.inner().connection();
    let introspectable = fdo::IntrospectableProxy::builder(connection)
        .destination(NAME)
        .path(PATH)
        .build()
        .await
        .expect("a proxy");
    let xml = introspectable.introspect().await.expect("an answer");
    let start = xml.find("<interface name=\"org.omnimind.memmon1.Manager\">");
    let ours = &xml[start.expect("the interface")..];
    let ours = &ours[..ours.find("</interface>").expect("its end")];
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shipped = include_str!("../../../../packaging/org.omnimind.memmon1.Manager.xml");
    assert!(
        words(shipped).contains(&words(ours)),
        "packaging/org.omnimind.memmon1.Manager.xml should contain\n{ours}"
    );
}
