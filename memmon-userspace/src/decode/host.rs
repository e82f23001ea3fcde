//! The text of `/proc/meminfo`, `/proc/vmstat` and `/proc/pressure/memory`.

/// A number that must be there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} has no usable value for {field}")]
pub struct MissingField {
    /// Which file.
    pub file: &'static str,
    /// What is missing.
    pub field: &'static str,
}

/// Memory of the host, bytes (`/proc/meminfo`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MemInfo {
    /// `MemTotal`.
    pub total: u64,
    /// `MemAvailable`: what could be used without swapping, as the kernel estimates it.
    pub available: u64,
    /// `SwapTotal`; 0 without swap.
    pub swap_total: u64,
    /// `SwapFree`.
    pub swap_free: u64,
}

impl MemInfo {
    /// Parses the file.
    ///
    /// # Errors
    /// If one of the four fields is missing: then this is no Linux since 3.14.
    pub fn parse(text: &str) -> Result<Self, MissingField> {
        let field = |field: &'static str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            line.and_then(kibibytes).ok_or(MissingField {
                file: "/proc/meminfo",
                field,
            })
        };
        Ok(Self {
            total: field("MemTotal")?,
            available: field("MemAvailable")?,
            swap_total: field("SwapTotal")?,
            swap_free: field("SwapFree")?,
        })
    }

    /// Share of RAM in use, 0 to 1: `(MemTotal − MemAvailable) / MemTotal`.
    pub fn ram_used(&self) -> f64 {
        used(self.total, self.available)
    }

    /// Share of swap in use, 0 to 1; `None` without swap.
    pub fn swap_used(&self) -> Option<f64> {
        (self.swap_total > 0).then(|| used(self.swap_total, self.swap_free))
    }
}

fn used(total: u64, free: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    let share = total.saturating_sub(free) as f64 / total.max(1) as f64;
    share
}

/// "  1024 kB" in bytes.
fn kibibytes(value: &str) -> Option<u64> {
    value
        .trim()
        .strip_suffix("kB")?
        .trim_end()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// Counters of `/proc/vmstat`, pages since boot. `None`: this kernel has no such counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct VmStat {
    /// Pages that reclaim wrote: the swap-out tracepoint's ledger.
    pub nr_vmscan_write: Option<u64>,
    /// Pages read from swap devices.
    pub pswpin: Option<u64>,
    /// Pages written to swap devices.
    pub pswpout: Option<u64>,
    /// Pages read from zswap.
    pub zswpin: Option<u64>,
    /// Pages stored in zswap.
    pub zswpout: Option<u64>,
    /// Pages that zswap wrote back to the swap device (from 6.8).
    pub zswpwb: Option<u64>,
    /// Pages full of zeroes, which took no room in swap (from 6.12).
    pub swpout_zero: Option<u64>,
    /// The same on the way back.
    pub swpin_zero: Option<u64>,
}

impl VmStat {
    /// Parses the file. What is not in it is `None`.
    pub fn parse(text: &str) -> Self {
        let mut stat = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            let field = match name {
                "nr_vmscan_write" => &mut stat.nr_vmscan_write,
                "pswpin" => &mut stat.pswpin,
                "pswpout" => &mut stat.pswpout,
                "zswpin" => &mut stat.zswpin,
                "zswpout" => &mut stat.zswpout,
                "zswpwb" => &mut stat.zswpwb,
                "swpout_zero" => &mut stat.swpout_zero,
                "swpin_zero" => &mut stat.swpin_zero,
                _ => continue,
            };
            *field = value.trim().parse().ok();
        }
        stat
    }

    /// What the counters gained since `earlier`. `None` where either has none.
    pub fn since(&self, earlier: &Self) -> Self {
        let gain = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Self {
            nr_vmscan_write: gain(self.nr_vmscan_write, earlier.nr_vmscan_write),
            pswpin: gain(self.pswpin, earlier.pswpin),
            pswpout: gain(self.pswpout, earlier.pswpout),
            zswpin: gain(self.zswpin, earlier.zswpin),
            zswpout: gain(self.zswpout, earlier.zswpout),
            zswpwb: gain(self.zswpwb, earlier.zswpwb),
            swpout_zero: gain(self.swpout_zero, earlier.swpout_zero),
            swpin_zero: gain(self.swpin_zero, earlier.swpin_zero),
        }
    }
}

/// One line of a pressure file (Documentation/accounting/psi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PressureLine {
    /// Percent of the last 10 seconds that were lost.
    pub avg10: f64,
    /// Of the last 60 seconds.
    pub avg60: f64,
    /// Of the last 300 seconds.
    pub avg300: f64,
    /// Time lost since boot, microseconds.
    pub total_us: u64,
}

/// A pressure file, of the host or of a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Pressure {
    /// Some task waited for memory.
    pub some: PressureLine,
    /// All tasks that could have run waited.
    pub full: PressureLine,
}

impl Pressure {
    /// Parses the file.
    ///
    /// # Errors
    /// If a line or one of its numbers is missing.
    pub fn parse(text: &str) -> Result<Self, MissingField> {
        let line = |kind: &'static str| {
            text.lines()
                .find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))
                .and_then(pressure_line)
                .ok_or(MissingField {
                    file: "pressure file",
                    field: kind,
                })
        };
        Ok(Self {
            some: line("some")?,
            full: line("full")?,
        })
    }
}

fn pressure_line(line: &str) -> Option<PressureLine> {
    let field = |name: &str| {
        line.split_ascii_whitespace()
            .find_map(|f| f.strip_prefix(name)?.strip_prefix('='))
    };
    let percent = |name: &str| field(name)?.parse().ok().filter(|value: &f64| value.is_finite());
    Some(PressureLine {
        avg10: percent("avg10")?,
        avg60: percent("avg60")?,
        avg300: percent("avg300")?,
        total_us: field("total")?.parse().ok()?,
    })
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
