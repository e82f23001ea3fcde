//! What `/proc/PID` says about a process.

/// What of a process never changes while it runs the same program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// Name of the main thread (`comm`).
    pub comm: String,
    /// When it started, clock ticks since boot.
    pub started: u64,
    /// Where its code begins; 1 if the reader may not know.
    pub code: u64,
    /// Where its stack began; 1 if the reader may not know.
    pub stack: u64,
}

impl ProcessStat {
    /// Takes `/proc/PID/stat` (proc_pid_stat(5)) apart; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        // The name may contain blanks and parentheses.
        let (head, tail) = text.rsplit_once(')')?;
        let comm = head.split_once('(')?.1.to_owned();
        // The first field behind the name is the third of the file.
        let field = |number: usize| tail.split_ascii_whitespace().nth(number - 3)?.parse().ok();
        Some(Self {
            comm,
            started: field(22)?,
            code: field(26)?,
            stack: field(28)?,
        })
    }
}

/// What a process uses of RAM and swap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Name of the main thread (`comm`), as the file has it: with escapes for newline and backslash.
    pub name: String,
    /// `VmRSS`, bytes; `None` for kernel threads and processes that have ended.
    pub resident: Option<u64>,
    /// `VmSwap`, bytes, without shared memory; `None` as above.
    pub swap: Option<u64>,
}

impl MemoryUse {
    /// Takes `/proc/PID/status` (proc_pid_status(5)) apart. What is not in it is absent.
    pub fn parse(status: &str) -> Self {
        let field = |name: &str| {
            let line = |line: &'_ str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
            status.lines().find_map(line)
        };
        let bytes = |name| {
            field(name)?
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()?
                .checked_mul(1024)
        };
        Self {
            name: field("Name").unwrap_or_default(),
            resident: bytes("VmRSS"),
            swap: bytes("VmSwap"),
        }
    }
}

/// The effective user id from `/proc/PID/status`; `None` if it is not there.
pub fn effective_uid(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The cgroup of a process in the hierarchy `hierarchy` (0 is cgroup v2), from `/proc/PID/cgroup`. A cgroup that
/// was removed is named without its ` (deleted)`.
pub fn cgroup(text: &str, hierarchy: u32, controller: &str) -> Option<String> {
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let wanted = if hierarchy == 0 {
            id == "0"
        } else {
            controllers.split(',').any(|each| each == controller)
        };
        wanted.then_some(path)
    })?;
    Some(path.strip_suffix(" (deleted)").unwrap_or(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_shifts_nothing() {
        let text = "412 (a) b (c)) S 1 412 412 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 1 0 9876 1000 200 18446744073709551615 \
                    4096 8192 140000 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let stat = ProcessStat::parse(text).expect("valid");
        assert_eq!(stat.comm, "a) b (c)");
        assert_eq!((stat.started, stat.code, stat.stack), (9876, 4096, 140_000));
        assert_eq!(ProcessStat::parse("412 (a) S 1"), None);
        assert_eq!(ProcessStat::parse(""), None);
    }

    #[test]
    fn memory_of_a_process_and_of_a_kernel_thread() {
        let status = "Name:\tsql server\nVmRSS:\t    2048 kB\nRssAnon:\t 1 kB\nVmSwap:\t      16 kB\n";
        let used = MemoryUse::parse(status);
        assert_eq!(used.name, "sql server");
        assert_eq!((used.resident, used.swap), (Some(2 << 20), Some(16 << 10)));
        let thread = MemoryUse::parse("Name:\tkswapd0\nThreads:\t1\n");
        assert_eq!((thread.resident, thread.swap), (None, None));
        assert_eq!(
            MemoryUse::parse("VmRSS:\t99999999999999999999 kB"),
            MemoryUse::default()
        );
    }

    #[test]
    fn the_effective_user_is_the_second_of_four() {
        let status = "Name:\tx\nUid:\t1000\t1001\t1002\t1003\nGid:\t1\t2\t3\t4\n";
        assert_eq!(effective_uid(status), Some(1001));
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }

    #[test]
    fn the_hierarchy_of_the_memory_controller_counts() {
        let hybrid = "9:memory:/m/x\n1:name=systemd:/s\n0::/system.slice/a:b.service (deleted)\n";
        assert_eq!(
            cgroup(hybrid, 0, "memory").as_deref(),
            Some("/system.slice/a:b.service")
        );
        assert_eq!(cgroup(hybrid, 9, "memory").as_deref(), Some("/m/x"));
        assert_eq!(cgroup("", 0, "memory"), None);
    }
}
