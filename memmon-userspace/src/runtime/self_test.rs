//! The proof that attribution is right on this kernel: a child in a cgroup of its own pages out pages that
//! we know of, and the counters must say exactly that.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, process::Stdio, time::Duration};

use memmon_common::event::{SwapOutKey, reclaim_kind};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use zbus::{OwnedVariant, Variant};
use zbus_systemd::systemd1::ManagerProxy;

use crate::{
    decode::MemInfo,
    source::{cgroup_tree::CgroupTree, proc::Proc},
};

/// Pages the child fills and has paged out: one mebibyte.
pub const PAGES: u64 = 256;
/// Hidden subcommand of the child.
pub const CHILD: &str = "self-test-child";
const DEADLINE: Duration = Duration::from_secs(20);

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// Pages that the child's page table says are in swap.
    pub expected_pages: u64,
    /// Pages counted for the child's cgroup; `None` if the test could not be done.
    pub counted_pages: Option<u64>,
    /// Exactly the expected pages, of the right owner, by the right reclaimer.
    pub ok: bool,
    /// What was wrong, or why it could not be done.
    pub detail: Option<String>,
}

impl SelfTest {
    fn impossible(why: String) -> Self {
        Self {
            expected_pages: PAGES,
            counted_pages: None,
            ok: false,
            detail: Some(why),
        }
    }
}

/// What the counters say when the child has paged out.
pub type Counts = Vec<(SwapOutKey, u64)>;

/// Runs the test against attached programs; `counts` reads their counters when asked.
pub async fn run(tree: &CgroupTree, counts: impl AsyncFnOnce() -> anyhow::Result<Counts>) -> SelfTest {
    match timeout(DEADLINE, attempt(tree, counts)).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => SelfTest::impossible(format!("{error:#}")),
        Err(_) => SelfTest::impossible(format!("not done within {} s", DEADLINE.as_secs())),
    }
}

async fn attempt(
    tree: &CgroupTree,
    counts: impl AsyncFnOnce() -> anyhow::Result<Counts>,
) -> anyhow::Result<SelfTest> {
    let memory = MemInfo::parse(&Proc::default().meminfo()?)?;
    if memory.swap_free < 2 * PAGES * 4096 {
        anyhow::bail!("no free swap space; set up swap (zram will do) and test again");
    }
    let mut child = Command::new("/proc/self/exe")
        .args([CHILD, &PAGES.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("no pipe from the child"))?;
    let home = Home::give(&child, tree).await?;
    let result = observe(counts, &mut child, stdout, home.id).await;
    drop(child.stdin.take());
    child.wait().await?;
    home.take_down();
    result
}

async fn observe(
    counts: impl AsyncFnOnce() -> anyhow::Result<Counts>,
    child: &mut Child,
    stdout: ChildStdout,
    id: u64,
) -> anyhow::Result<SelfTest> {
    let stdin = child
        .stdin
        .as_mut()
        .ok_or_else(|| io::Error::other("no pipe to the child"))?;
    stdin.write_all(b"go\n").await?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    let expected_pages: u64 = line
        .trim()
        .parse()
        .map_err(|_| anyhow::anyhow!("the child paged out nothing: it said {:?}", line.trim()))?;
    let counts = counts().await?;
    let of_child: Vec<&(SwapOutKey, u64)> = counts.iter().filter(|(key, _)| key.owner == id).collect();
    let counted_pages = of_child.iter().map(|(_, pages)| pages).sum();
    let strangers: Vec<String> = of_child
        .iter()
        .filter(|(key, _)| key.reclaimer != id || key.kind != u64::from(reclaim_kind::MADVISE))
        .map(|(key, pages)| format!("{pages} pages by cgroup {} of kind {}", key.reclaimer, key.kind))
        .collect();
    let detail = if counted_pages != expected_pages {
        Some(format!(
            "{counted_pages} pages were counted for cgroup {id} where its page table has {expected_pages} in swap"
        ))
    } else if !strangers.is_empty() {
        Some(format!(
            "some pages have a wrong culprit: {}",
            strangers.join(", ")
        ))
    } else if expected_pages == 0 {
        Some("the kernel paged nothing out".to_owned())
    } else {
        None
    };
    Ok(SelfTest {
        expected_pages,
        counted_pages: Some(counted_pages),
        ok: detail.is_none(),
        detail,
    })
}

/// The child's own cgroup: a scope of systemd's where there is systemd, else one of ours.
struct Home {
    id: u64,
    ours: Option<std::path::PathBuf>,
}

impl Home {
    async fn give(child: &Child, tree: &CgroupTree) -> anyhow::Result<Self> {
        let pid = child
            .id()
            .ok_or_else(|| anyhow::anyhow!("the child ended at once"))?;
        if Path::new("/run/systemd/system").is_dir() && !tree.is_v1() {
            let before = cgroup_of(pid, tree)?;
            scope(pid).await?;
            loop {
                let now = cgroup_of(pid, tree)?;
                if now != before {
                    let id = fs::metadata(tree.dir(&now))?.ino();
                    return Ok(Self { id, ours: None });
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let dir = tree.dir(&format!("/memmon-self-test-{pid}"));
        fs::create_dir(&dir)?;
        let home = Self {
            id: fs::metadata(&dir)?.ino(),
            ours: Some(dir.clone()),
        };
        match fs::write(dir.join("cgroup.procs"), pid.to_string()) {
            Ok(()) => Ok(home),
            Err(error) => {
                home.take_down();
                Err(error.into())
            }
        }
    }

    fn take_down(&self) {
        if let Some(dir) = &self.ours
            && let Err(error) = fs::remove_dir(dir)
        {
            tracing::warn!("removing {}: {error}; remove it by hand", dir.display());
        }
    }
}

/// Path of a process in the hierarchy of the memory controller.
///
/// # Errors
/// If the process is gone, or its cgroups cannot be read.
pub fn cgroup_of(pid: u32, tree: &CgroupTree) -> anyhow::Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    text.lines()
        .find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let hierarchy: u32 = fields.next()?.parse().ok()?;
            let path = fields.nth(1)?;
            (hierarchy == tree.hierarchy).then(|| path.to_owned())
        })
        .ok_or_else(|| anyhow::anyhow!("process {pid} is in no cgroup of the memory hierarchy"))
}

async fn scope(pid: u32) -> anyhow::Result<()> {
    let bus = zbus::Connection::system().await?;
    let value = |value: Variant<'static>| OwnedVariant::try_from(value);
    let properties = vec![
        ("PIDs".to_owned(), value(Variant::from(vec![pid]))?),
        (
            "Description".to_owned(),
            value(Variant::from("memmon's self-test"))?,
        ),
        ("MemoryAccounting".to_owned(), value(Variant::from(true))?),
        (
            "CollectMode".to_owned(),
            value(Variant::from("inactive-or-failed"))?,
        ),
    ];
    ManagerProxy::new(&bus)
        .await?
        .start_transient_unit(
            format!("memmon-self-test-{pid}.scope"),
            "fail".to_owned(),
            properties,
            Vec::new(),
        )
        .await?;
    Ok(())
}

/// The child: waits until it is in its cgroup, fills pages, has them paged out, and says how many are in swap.
///
/// # Errors
/// If memory cannot be mapped or the page table not be read.
pub fn child(pages: usize) -> anyhow::Result<()> {
    use std::io::{BufRead as _, Read as _, Write as _};
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let region = Region::filled(pages)?;
    let mut swapped = 0;
    for _ in 0..20 {
        region.page_out()?;
        swapped = region.in_swap()?;
        if swapped == pages {
            break;
        }
    }
    println!("{swapped}");
    io::stdout().flush()?;
    // Stay until the parent has read the counters: it closes our input.
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}

struct Region {
    start: *mut u8,
    len: usize,
}

impl Region {
    fn filled(pages: usize) -> anyhow::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let len = pages * rustix::param::page_size();
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        let region = Self {
            start: start.cast(),
            len,
        };
        // SAFETY: the mapping is ours, writable, and `len` bytes long.
        let bytes = unsafe { std::slice::from_raw_parts_mut(region.start, len) };
        // Neither compressible to nothing nor alike: zero pages and KSM must not interfere.
        let mut state = u64::from(std::process::id()) | 0x9e37_79b9_7f4a_7c15;
        for chunk in bytes.as_chunks_mut::<8>().0 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *chunk = state.to_ne_bytes();
        }
        Ok(region)
    }

    fn page_out(&self) -> anyhow::Result<()> {
        // SAFETY: the mapping is ours; paging out keeps its contents.
        unsafe { rustix::mm::madvise(self.start.cast(), self.len, rustix::mm::Advice::LinuxPageOut)? };
        Ok(())
    }

    /// Pages whose entry in the page table says swap (bit 62 of `/proc/self/pagemap`).
    fn in_swap(&self) -> anyhow::Result<usize> {
        use std::os::unix::fs::FileExt as _;
        let page = rustix::param::page_size();
        let mut entries = vec![0; self.len / page * 8];
        let offset = (self.start as usize / page * 8) as u64;
        fs::File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, offset)?;
        let swapped = |entry: &[u8; 8]| u64::from_ne_bytes(*entry) & 1 << 62 != 0;
        Ok(entries
            .as_chunks::<8>()
            .0
            .iter()
            .filter(|entry| swapped(entry))
            .count())
    }
}
