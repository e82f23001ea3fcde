//! Real locks in this process, without an agent.

use std::{
    fs,
    num::NonZeroUsize,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use memmon_client::{
    Buffers, Cold, History, InUse, PageRange, Protected, Region, Unusable, advise_cold, protect,
    protect_region, protected_bytes, use_bus,
};

const PAGE: usize = 4096;

/// What a process has locked is one number: the tests take turns where they share a process.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    use_bus("unix:path=/nonexistent/memmon-test");
    assert_eq!(protected_bytes(), 0);
    turn
}

/// For each page, whether it lies in a locked mapping (smaps, VmFlags `lo`).
fn locked(pages: PageRange) -> Vec<bool> {
    let mut result = vec![false; pages.len() / PAGE];
    let mut mapping = 0..0;
    for line in fs::read_to_string("/proc/self/smaps").expect("smaps").lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-') {
            let hex = |text| usize::from_str_radix(text, 16).expect("an address");
            mapping = hex(start)..hex(end);
        } else if line.starts_with("VmFlags:") && line.split(' ').any(|flag| flag == "lo") {
            for (page, locked) in result.iter_mut().enumerate() {
                *locked |= mapping.contains(&(pages.start + page * PAGE));
            }
        }
    }
    result
}

/// Whole pages of its own.
fn mapping(pages: usize) -> (Vec<u8>, usize) {
    let buffer = vec![1u8; (pages + 1) * PAGE];
    let offset = buffer.as_ptr().align_offset(PAGE);
    (buffer, offset)
}

#[test]
fn locks_and_undoes() {
    let _turn = alone();
    let buffer = vec![0u8; 64 * PAGE];
    let guard = protect(&buffer, "buffer").expect("usable");
    let status = guard.status();
    assert!(status.locked, "{status:?}");
    assert_eq!(status.bytes, 64 * PAGE);
    assert_eq!(status.resident_pages, Some(status.pages));
    assert!((64..=65).contains(&status.pages));
    let pages = guard.ranges()[0];
    assert!(locked(pages).iter().all(|locked| *locked));
    assert!(!guard.wait_tagged(Duration::from_secs(10)));
    let why = guard.status().refused;
    assert!(why[0].contains("no connection to the system bus"), "{why:?}");
    guard.release();
    assert!(!locked(pages).iter().any(|locked| *locked));
    assert_eq!(protected_bytes(), 0);
}

#[test]
fn shared_memory_is_said_to_be_unseen_by_the_agent() {
    let _turn = alone();
    let (rights, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new mapping, at an address the kernel chooses.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), 4 * PAGE, rights, kind, -1, 0) };
    assert_ne!(address, libc::MAP_FAILED);
    let region = Region {
        address: address.addr(),
        len: 4 * PAGE,
    };
    let status = protect_region(region, "shared").expect("usable").status();
    assert!(status.locked, "it is locked all the same: {status:?}");
    let why = "4 of 4 pages are shared memory (/dev/zero)";
    assert!(status.refused.iter().any(|one| one.contains(why)), "{status:?}");
    // SAFETY: the mapping from above, to which there are no references.
    assert_eq!(unsafe { libc::munmap(address, 4 * PAGE) }, 0);
    let own = vec![0u8; 4 * PAGE];
    let status = protect(&own, "own").expect("usable").status();
    assert!(
        !status.refused.iter().any(|one| one.contains("shared")),
        "{status:?}"
    );
}

#[test]
fn pages_of_neighbours_stay_locked_until_the_last_goes() {
    let _turn = alone();
    let (buffer, offset) = mapping(16);
    let pages = PageRange {
        start: buffer.as_ptr().addr() + offset,
        end: buffer.as_ptr().addr() + offset + 16 * PAGE,
    };
    let embeddings: Vec<&[u8]> = buffer[offset..].chunks(1536).take(40).collect();
    let mut guards: Vec<_> = embeddings
        .iter()
        .map(|embedding| protect(*embedding, "embedding").expect("usable"))
        .collect();
    let covered = (40 * 1536usize).div_ceil(PAGE);
    let expect = |first: usize| {
        (0..16)
            .map(|page| (first..covered).contains(&page))
            .collect::<Vec<_>>()
    };
    assert_eq!(locked(pages), expect(0));
    for which in [1, 0, 0] {
        drop(guards.remove(which));
    }
    assert_eq!(locked(pages), expect(3 * 1536 / PAGE));
    drop(guards);
    assert!(!locked(pages).iter().any(|locked| *locked));
}

#[test]
fn what_cannot_be_protected() {
    let _turn = alone();
    assert_eq!(
        protect(&Vec::<u8>::new(), "a").err(),
        Some(Unusable::Empty("a".to_owned()))
    );
    assert_eq!(
        protect(&[0u64; 0], "a").err(),
        Some(Unusable::Empty("a".to_owned()))
    );
    for label in ["", "a\nb", &"x".repeat(65)] {
        assert_eq!(
            protect(&[1], label).err(),
            Some(Unusable::Label(label.to_owned()))
        );
    }
    let region = Region {
        address: usize::MAX - 4,
        len: 10,
    };
    assert!(matches!(
        protect_region(region, "a"),
        Err(Unusable::Address { .. })
    ));
    let region = Region {
        address: PAGE,
        len: 10,
    };
    let guard = protect_region(region, "nothing there").expect("not an error");
    assert!(
        guard.status().refused[0].contains("not mapped"),
        "{:?}",
        guard.status()
    );
    assert_eq!(protected_bytes(), 0);
}

#[test]
fn owned_elements_can_be_written() {
    let _turn = alone();
    let mut table = Protected::new(vec![0u32; 5000], "table").expect("usable");
    table[4999] = 7;
    assert!(table.guard().status().locked);
    assert_eq!(table.into_inner()[4999], 7);
    assert_eq!(protected_bytes(), 0);
}

#[test]
fn advice_spares_what_is_protected_and_keeps_the_content() {
    let _turn = alone();
    let (buffer, offset) = mapping(8);
    let all = &buffer[offset..offset + 8 * PAGE];
    assert_eq!(advise_cold(all, Cold::First), 8 * PAGE);
    assert_eq!(advise_cold(&all[1..3 * PAGE], Cold::First), 2 * PAGE);
    assert_eq!(advise_cold(&all[1..PAGE + 1], Cold::First), 0);
    let guard = protect(&all[2 * PAGE + 5..4 * PAGE + 5], "middle").expect("usable");
    assert_eq!(advise_cold(all, Cold::First), 5 * PAGE);
    assert_eq!(advise_cold(all, Cold::Now), 5 * PAGE);
    assert!(guard.status().locked);
    assert!(all.iter().all(|byte| *byte == 1));
}

#[test]
fn history_keeps_the_last() {
    let _turn = alone();
    let mut history = History::new(NonZeroUsize::MIN.saturating_add(9), "cycles").cold();
    for cycle in 0..35u32 {
        let oldest = history.push(vec![cycle; 2000]).expect("usable");
        assert_eq!(oldest.map(|oldest| oldest[0]), cycle.checked_sub(10));
        assert_eq!(history.len(), usize::min(cycle as usize + 1, 10));
    }
    let kept: Vec<u32> = history.iter().map(|cycle| cycle[0]).collect();
    assert_eq!(kept, (25..35).collect::<Vec<_>>());
    assert!(history.iter().all(|cycle| cycle.guard().status().locked));
    history.clear();
    assert_eq!(protected_bytes(), 0);
}

struct Model {
    weights: Vec<f32>,
    vocabulary: Vec<u8>,
}

impl Buffers for Model {
    fn regions(&self, found: &mut Vec<Region>) {
        self.weights.regions(found);
        self.vocabulary.regions(found);
    }
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}: not in time");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_model_is_locked_while_in_use_and_a_while_longer() {
    let _turn = alone();
    let model = Model {
        weights: vec![1.0; 100_000],
        vocabulary: b"a b c".to_vec(),
    };
    let model = InUse::new(model, "model", Duration::from_millis(200)).expect("usable");
    assert!(model.status().is_none(), "not used yet");
    let outer = model.enter();
    let inner = model.enter();
    assert_eq!(inner.vocabulary.len(), 5);
    drop(inner);
    thread::sleep(Duration::from_millis(400));
    assert!(
        model.status().is_some_and(|status| status.locked),
        "in use, however long"
    );
    drop(outer);
    assert!(model.status().is_some(), "not idle for long enough");
    drop(model.enter());
    wait_for("it is let go", || model.status().is_none());
    assert_eq!(protected_bytes(), 0);
    drop(model.enter());
    model.release();
    assert_eq!(protected_bytes(), 0);
}

#[test]
fn many_threads_and_models() {
    let _turn = alone();
    let model = || InUse::new(vec![0u8; PAGE], "m", Duration::from_millis(20)).expect("usable");
    let models: Vec<InUse<Vec<u8>>> = (0..8).map(|_| model()).collect();
    let shared = vec![0u8; 100 * PAGE];
    thread::scope(|scope| {
        for (number, model) in models.iter().enumerate() {
            let shared = &shared;
            scope.spawn(move || {
                for turn in 0..200 {
                    let start = (number * 7919 + turn * 104_729) % (90 * PAGE);
                    let guard = protect(&shared[start..start + 5000], "t").expect("usable");
                    assert!(guard.status().locked);
                    let used = model.enter();
                    assert_eq!(used.len(), PAGE);
                }
            });
        }
    });
    wait_for("all are let go", || {
        models.iter().all(|model| model.status().is_none())
    });
    assert_eq!(protected_bytes(), 0);
}

/// The child must find no lock held by a thread that it does not have.
#[test]
fn a_fork_while_another_thread_begins_a_use() {
    let _turn = alone();
    let model = InUse::new(vec![1u8; 2048 * PAGE], "model", Duration::from_secs(3600)).expect("usable");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(model.enter());
                model.release();
            }
        });
        let hanging = (0..20).find(|number| {
            // Without it, the other thread locks the model again and again, and with it, it only counts.
            let inherited = (number % 2 == 0).then(|| model.enter());
            // SAFETY: as below.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let fresh = model.status().is_none();
                let own = model.enter();
                drop(inherited);
                let status = model.status();
                drop(own);
                model.release();
                let (locked, let_go) = (
                    status.as_ref().is_some_and(|status| status.locked),
                    model.status().is_none(),
                );
                if !(fresh && locked && let_go) {
                    eprintln!("in the child: {fresh} {let_go} {status:?}");
                }
                let good = fresh && locked && let_go;
                // SAFETY: always.
                unsafe { libc::_exit(if good { 0 } else { 1 }) };
            }
            drop(inherited);
            let end = Instant::now() + Duration::from_secs(20);
            let mut status = 0;
            // SAFETY: status is an int for the kernel to write to.
            while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
                if Instant::now() > end {
                    // SAFETY: the child has not been waited for, so the pid is its own.
                    unsafe { libc::kill(child, libc::SIGKILL) };
                    // SAFETY: as above.
                    unsafe { libc::waitpid(child, &raw mut status, 0) };
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
            status != 0
        });
        stop.store(true, Ordering::Relaxed);
        assert_eq!(hanging, None, "a child hung, or saw what it should not");
    });
    model.release();
    assert_eq!(protected_bytes(), 0);
}

#[test]
fn a_forked_child_starts_with_nothing() {
    let _turn = alone();
    let buffer = vec![0u8; 10 * PAGE];
    let guard = protect(&buffer, "parent").expect("usable");
    let pages = guard.ranges()[0];
    // SAFETY: glibc keeps its allocator usable in the child, which uses nothing else that threads share, and ends
    // without running the parent's destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let inherited = guard.inherited() && !guard.status().locked && protected_bytes() == 0;
        drop(guard);
        let own = protect(&buffer, "child").is_ok_and(|own| own.status().locked);
        // SAFETY: always.
        unsafe { libc::_exit(if inherited && own { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: status is an int for the kernel to write to.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "what the child saw");
    assert!(guard.status().locked);
    assert!(locked(pages).iter().all(|locked| *locked));
}
