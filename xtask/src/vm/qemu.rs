//! The command line of the virtual machine.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{command::output, kernel::Kernel};

const QEMU: &str = "qemu-system-x86_64";

/// Without cx16, la57 and pku: with plain `max`, QEMU 7.2 crashes 6.12 guests.
const CPU: &str = "max,cx16=off,la57=off,pku=off";

/// The first QEMU whose CPUs may each have a thread. Before, a CPU could go on with the translation of code that
/// another had just rewritten: the breakpoint that the kernel sets for a moment where a probe is attached, long after
/// it was gone ("Oops: int3", seen in `swap_read_folio` with 7.2).
const CROSS_MODIFYING_CODE_WORKS: (u32, u32) = (8, 1);

/// What the machine finds as /dev/vda to /dev/vde.
#[derive(Clone, Debug)]
pub(crate) struct Disks {
    /// Root file system; changes are thrown away.
    pub(crate) root: PathBuf,
    /// Binaries and the run's configuration, mounted at /opt/memmon.
    pub(crate) payload: PathBuf,
    /// Kernel modules, mounted at /lib/modules.
    pub(crate) modules: PathBuf,
    /// Empty, for swap.
    pub(crate) scratch: PathBuf,
    /// Prometheus and Alertmanager, mounted by the cases that need them.
    pub(crate) monitoring: PathBuf,
}

/// What the first serial port (the console) and the second (results) are connected to.
#[derive(Clone, Debug)]
pub(crate) enum Ports<'a> {
    /// The console into a file, results to standard output; `web` of this machine's loopback leads to the page.
    Test { console: &'a Path, web: u16 },
    /// The console is the terminal.
    Interactive,
}

/// QEMU, ready to be started; it dies with this process.
///
/// # Errors
/// If QEMU does not say which version it is.
pub(crate) fn command(kernel: &Kernel, disks: &Disks, ports: &Ports<'_>) -> Result<Command> {
    let said = output(Command::new(QEMU).arg("--version"))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", QEMU]);
    command.args(["-M", "q35", "-accel", accelerator(&said), "-cpu", CPU]);
    command.args(["-smp", "2", "-m", "1024", "-no-reboot"]);
    command.args(["-nodefaults", "-display", "none"]);
    command.arg("-kernel").arg(&kernel.vmlinuz);
    command.arg("-initrd").arg(&kernel.initramfs);
    drive(&mut command, &disks.root, "snapshot=on,cache=unsafe");
    drive(&mut command, &disks.payload, "readonly=on");
    drive(&mut command, &disks.modules, "readonly=on");
    drive(&mut command, &disks.scratch, "cache=unsafe");
    drive(&mut command, &disks.monitoring, "readonly=on");
    let mode = match ports {
        Ports::Test { console, web } => {
            // To nowhere else, in neither direction. The driver is not loaded until a case wants it.
            let forward = format!("hostfwd=tcp:127.0.0.1:{web}-10.0.2.15:8080");
            command.args([
                "-nic",
                &format!("user,model=virtio-net-pci,restrict=on,{forward}"),
            ]);
            let console = console.to_string_lossy().replace(',', ",,");
            command.args(["-serial", &format!("file:{console}")]);
            command.args(["-chardev", "stdio,id=results,signal=off"]);
            command.args(["-serial", "chardev:results"]);
            "memmon.vmtest"
        }
        Ports::Interactive => {
            command.args(["-nic", "none"]);
            command.args(["-serial", "mon:stdio", "-serial", "null"]);
            "memmon.shell"
        }
    };
    command.arg("-append").arg(format!("{KERNEL_ARGUMENTS} {mode}"));
    Ok(command)
}

/// Both CPUs in one thread where it has to be. Two machines at a time then still keep two cores busy.
fn accelerator(version: &str) -> &'static str {
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next());
    if version.is_some_and(|version| version >= CROSS_MODIFYING_CODE_WORKS) {
        "tcg,thread=multi"
    } else {
        "tcg,thread=single"
    }
}

/// A panic ends QEMU at once (-no-reboot), and an oops is a panic. The watchdogs judge by real time, of which
/// an emulated machine gets little; mitigations and self-tests of ciphers only cost time.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 oops=panic nowatchdog workqueue.watchdog_thresh=0 \
     rcupdate.rcu_cpu_stall_suppress=1 mitigations=off random.trust_cpu=on cryptomgr.notests \
     systemd.unified_cgroup_hierarchy=1 systemd.show_status=no";

fn drive(command: &mut Command, file: &Path, options: &str) {
    let file = file.to_string_lossy().replace(',', ",,");
    command.args(["-drive", &format!("file={file},if=virtio,format=raw,{options}")]);
}

#[cfg(test)]
#[path = "qemu_tests.rs"]
mod tests;
