//! `/proc/self/mountinfo`, as far as finding the cgroup hierarchies needs it (proc_pid_mountinfo(5)).

/// One mounted cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CgroupMount {
    /// The directory of the hierarchy that is mounted; `/` unless it is a part of it.
    pub root: String,
    /// Where.
    pub mount_point: String,
    /// cgroup v2.
    pub unified: bool,
    /// Super block options: on v1 the controllers are among them.
    pub options: String,
}

impl CgroupMount {
    pub(super) fn has_option(&self, option: &str) -> bool {
        self.options.split(',').any(|other| other == option)
    }
}

/// The cgroup mounts in `text`. Lines that are not as the manual says are passed over: there is nothing a
/// person could do about them.
pub(super) fn cgroup_mounts(text: &str) -> Vec<CgroupMount> {
    text.lines().filter_map(cgroup_mount).collect()
}

fn cgroup_mount(line: &str) -> Option<CgroupMount> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut filesystem = filesystem.split(' ');
    let unified = match filesystem.next()? {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    let options = filesystem.nth(1)?.to_owned();
    let mut mount = mount.split(' ').skip(3);
    Some(CgroupMount {
        root: unescape(mount.next()?),
        mount_point: unescape(mount.next()?),
        unified,
        options,
    })
}

/// Undoes the kernel's `\040`-style escapes of blanks, newlines and backslashes.
fn unescape(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail
            .get(..3)
            .filter(|digits| digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok()) {
            Some(byte) if first == b'\\' => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_mounts_are_found_among_the_others() {
        let text = "23 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 master:3 - cgroup cgroup rw,memory\n\
            41 31 0:38 /a\\040b /odd\\134\\040place rw - cgroup2 cgroup2 rw,nsdelegate\n\
            broken line\n";
        let mounts = cgroup_mounts(text);
        assert_eq!(mounts.len(), 2);
        assert!(!mounts[0].unified && mounts[0].has_option("memory") && !mounts[0].has_option("mem"));
        assert_eq!(mounts[0].mount_point, "/sys/fs/cgroup/memory");
        assert!(mounts[1].unified);
        assert_eq!(
            (mounts[1].root.as_str(), mounts[1].mount_point.as_str()),
            ("/a b", "/odd\\ place")
        );
    }

    #[test]
    fn a_backslash_that_is_no_escape_stays() {
        assert_eq!(unescape(r"/a\x2db\9\04"), r"/a\x2db\9\04");
        assert_eq!(unescape(r"\777"), r"\777");
    }
}
