//! Experiments.
#![allow(missing_docs, clippy::all)]
use memmon::source::probes::{Options, Probes};
use std::{
    fs,
    io::{BufRead, Read, Write},
    process::{Command, Stdio},
};

fn vmstat(k: &str) -> u64 {
    fs::write("/proc/sys/vm/stat_refresh", "1").ok();
    fs::read_to_string("/proc/vmstat")
        .unwrap()
        .lines()
        .find_map(|l| l.strip_prefix(k)?.strip_prefix(' ')?.parse().ok())
        .unwrap_or(0)
}
fn hold(mib: usize, rounds: usize) {
    let len = mib << 20;
    let p = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            len,
            rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
            rustix::mm::MapFlags::PRIVATE,
        )
    }
    .unwrap() as *mut u64;
    let mut x = 88172645463325252u64;
    for r in 0..rounds {
        for i in 0..len / 8 {
            if i % 512 < 64 || r == 0 {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                unsafe { *p.add(i) = x }
            }
        }
        unsafe { rustix::mm::madvise(p.cast(), len, rustix::mm::Advice::LinuxPageOut) }.unwrap();
    }
    println!("done");
    std::io::stdin().read(&mut [0u8; 1]).ok();
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    if a.len() > 2 && a[1] == "hold" {
        return hold(a[2].parse().unwrap(), a[3].parse().unwrap());
    }
    let (mut probes, _rings) = Probes::open(Options::default()).unwrap();
    if a.len() > 1 && a[1] == "empty" {
        let btf = aya::Btf::from_sys_fs().unwrap();
        for n in &a[2..] {
            let p: &mut aya::programs::BtfTracePoint =
                probes.ebpf().program_mut(n).unwrap().try_into().unwrap();
            p.load("mm_vmscan_write_folio", &btf).unwrap();
            p.attach().unwrap();
        }
    }
    let cg = "/sys/fs/cgroup/memory/memmon-live-1";
    fs::create_dir_all(cg).unwrap();
    let id = {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(cg).unwrap().ino()
    };
    let before = vmstat("nr_vmscan_write");
    let t = std::time::Instant::now();
    let mut ch = Command::new(std::env::current_exe().unwrap());
    ch.args(["hold", "256", "4"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    fs::write(format!("{cg}/tasks"), std::process::id().to_string()).unwrap();
    let mut ch = ch.spawn().unwrap();
    fs::write("/sys/fs/cgroup/memory/tasks", std::process::id().to_string()).unwrap();
    let mut line = String::new();
    std::io::BufReader::new(ch.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    println!("{:?} in {:?}", line, t.elapsed());
    let after = vmstat("nr_vmscan_write");
    let out = probes.swap_out().unwrap();
    println!(
        "id {id} delta {} counted {:?} totals {:?}",
        after - before,
        out,
        probes.totals().unwrap()
    );
    for s in probes.stats() {
        if s.run_count > 0 {
            println!(
                "{} {} runs {} ns/event, misses {}",
                s.name,
                s.run_count,
                s.run_time_ns / s.run_count.max(1),
                s.recursion_misses
            );
        }
    }
    ch.stdin.take().unwrap().write_all(b"x").unwrap();
    ch.wait().unwrap();
    fs::remove_dir(cg).unwrap();
}
