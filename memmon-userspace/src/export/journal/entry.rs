//! The entries: what they are called, how grave they are, and their fields.

use crate::attribute::unit_name;
use crate::config::Priority;

/// What an entry tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// A page of a unit that should stay in memory went to swap.
    AlarmRaised,
    /// The cause of an alarm is over.
    AlarmCleared,
    /// memmon changed a limit.
    LimitChanged,
    /// memmon put a limit back.
    LimitReverted,
    /// memmon wanted to change a limit, or to put it back, and could not.
    LimitFailed,
    /// Somebody else changed a limit that memmon held: theirs stays.
    LeaseKept,
    /// memmon runs with less than everything.
    Degraded,
    /// The file of leases could not be read; it was put aside.
    LeaseFileCorrupt,
    /// Something will be used up soon, by its present trend.
    ForecastRaised,
    /// It will not any more.
    ForecastCleared,
    /// memmon tried to bring pages back from swap; the entry says with what result.
    BroughtBack,
}

/// All of them.
pub const MESSAGES: [Message; 11] = [
    Message::AlarmRaised,
    Message::AlarmCleared,
    Message::LimitChanged,
    Message::LimitReverted,
    Message::LimitFailed,
    Message::LeaseKept,
    Message::Degraded,
    Message::LeaseFileCorrupt,
    Message::BroughtBack,
    Message::ForecastRaised,
    Message::ForecastCleared,
];

impl Message {
    /// `MESSAGE_ID=`. Never changes: people filter by it, and `packaging/memmon.catalog` explains it.
    pub const fn id(self) -> &'static str {
        match self {
            Self::AlarmRaised => "2bf90796cba34b948eaf73a3ebf01184",
            Self::AlarmCleared => "7f26df8433c049ad978a7058b7e129dd",
            Self::LimitChanged => "8ae8ef1ee4f54c4fb33b5eb531328d70",
            Self::LimitReverted => "a316ad5118424a0da4c85adc59b6985d",
            Self::LimitFailed => "e63ea47a13b64645bd929fccd40a33fd",
            Self::LeaseKept => "2b39a11cba2a4209bab4546b3dcb8fb4",
            Self::Degraded => "c67b3c9463144ec595ba5338d29e8403",
            Self::LeaseFileCorrupt => "882aa8d544c4401692a4dbd406dbef71",
            Self::BroughtBack => "b9bf8589194d4a8aa5ad729f085a300f",
            Self::ForecastRaised => "8cf9c7e83e675ddfc94d70e2f99e285f",
            Self::ForecastCleared => "d5a4521b54f721eb6ef1df0b4496744b",
        }
    }

    /// `PRIORITY=`, as in syslog(3): 2 is critical, 5 is notice.
    pub const fn severity(self) -> u8 {
        match self {
            Self::AlarmRaised => 2,
            Self::LimitFailed | Self::LeaseFileCorrupt => 3,
            Self::LimitChanged | Self::LeaseKept | Self::Degraded | Self::ForecastRaised => 4,
            Self::AlarmCleared | Self::LimitReverted | Self::BroughtBack | Self::ForecastCleared => 5,
        }
    }
}

/// One entry. Fields that are `None` are left out.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What it tells.
    pub message: Message,
    /// The sentence that people read.
    pub text: &'a str,
    /// `MEMMON_UNIT=`, `(host)` if it is about the host; and `OBJECT_SYSTEMD_UNIT=` if it is a unit's name and not a cgroup's path.
    pub unit: Option<&'a str>,
    /// `MEMMON_PRIORITY=`.
    pub priority: Option<Priority>,
    /// `MEMMON_PAGES=`: pages swapped out; or brought back, if it is about that.
    pub pages: Option<u64>,
    /// `MEMMON_RECLAIMER=`: unit that pushed them out, or `kswapd`.
    pub reclaimer: Option<&'a str>,
    /// `MEMMON_RECLAIM_KIND=`: as in `memmon trace --json`.
    pub reclaim_kind: Option<&'a str>,
    /// `MEMMON_PROPERTY=`: systemd's name of the limit.
    pub property: Option<&'a str>,
    /// `MEMMON_OLD=`: bytes or `infinity`.
    pub old: Option<&'a str>,
    /// `MEMMON_NEW=`: bytes or `infinity`.
    pub new: Option<&'a str>,
    /// `MEMMON_REASON=`.
    pub reason: Option<&'a str>,
    /// `MEMMON_REGION=`: label of the tagged region that was hit.
    pub region: Option<&'a str>,
    /// `MEMMON_PID=`: the process that the region belongs to.
    pub pid: Option<u32>,
    /// `MEMMON_ADDRESS=`: of the first page that was hit.
    pub address: Option<u64>,
    /// `MEMMON_PAGES_ASKED=`: pages that were in swap.
    pub asked: Option<u64>,
    /// `MEMMON_PAGES_OUT=`: pages that are in swap now.
    pub still_out: Option<u64>,
    /// `MEMMON_RESOURCE=`: what will be used up: `ram`, `swap` or `memory_max`.
    pub resource: Option<&'a str>,
    /// `MEMMON_EARLIEST=`: when, at the earliest; seconds.
    pub earliest: Option<u64>,
    /// `MEMMON_LATEST=`: when, at the latest; seconds.
    pub latest: Option<u64>,
}

impl<'a> Entry<'a> {
    /// An entry with nothing but its sentence.
    pub const fn new(message: Message, text: &'a str) -> Self {
        Self {
            message,
            text,
            unit: None,
            priority: None,
            pages: None,
            reclaimer: None,
            reclaim_kind: None,
            property: None,
            old: None,
            new: None,
            reason: None,
            region: None,
            pid: None,
            address: None,
            asked: None,
            still_out: None,
            resource: None,
            earliest: None,
            latest: None,
        }
    }

    /// All fields with their names, those first that every entry has.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("MESSAGE", self.text.to_owned()),
            ("MESSAGE_ID", self.message.id().to_owned()),
            ("PRIORITY", self.message.severity().to_string()),
            ("SYSLOG_IDENTIFIER", "memmon".to_owned()),
        ];
        // journalctl -u UNIT shows entries with this field that come from root.
        if let Some(unit) = self.unit.filter(|unit| unit_name::kind_of_name(unit).is_some()) {
            fields.push(("OBJECT_SYSTEMD_UNIT", unit.to_owned()));
        }
        fields.extend(self.own_fields());
        fields
    }

    fn own_fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let text = |value: Option<&str>| value.map(str::to_owned);
        [
            ("MEMMON_UNIT", text(self.unit)),
            (
                "MEMMON_PRIORITY",
                self.priority.map(|priority| priority.to_string()),
            ),
            ("MEMMON_PAGES", self.pages.map(|pages| pages.to_string())),
            ("MEMMON_RECLAIMER", text(self.reclaimer)),
            ("MEMMON_RECLAIM_KIND", text(self.reclaim_kind)),
            ("MEMMON_PROPERTY", text(self.property)),
            ("MEMMON_OLD", text(self.old)),
            ("MEMMON_NEW", text(self.new)),
            ("MEMMON_REASON", text(self.reason)),
            ("MEMMON_REGION", text(self.region)),
            ("MEMMON_PID", self.pid.map(|pid| pid.to_string())),
            ("MEMMON_PAGES_ASKED", self.asked.map(|pages| pages.to_string())),
            ("MEMMON_PAGES_OUT", self.still_out.map(|pages| pages.to_string())),
            ("MEMMON_RESOURCE", text(self.resource)),
            (
                "MEMMON_EARLIEST",
                self.earliest.map(|seconds| seconds.to_string()),
            ),
            ("MEMMON_LATEST", self.latest.map(|seconds| seconds.to_string())),
            (
                "MEMMON_ADDRESS",
                self.address.map(|address| format!("{address:#x}")),
            ),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// The same on one line, for a host without journald.
    pub(super) fn line(&self) -> String {
        let mut line = format!(
            "memmon: {} MESSAGE_ID={}",
            self.text.escape_debug(),
            self.message.id()
        );
        for (name, value) in self.own_fields() {
            line += &format!(" {name}={value:?}");
        }
        line
    }
}
