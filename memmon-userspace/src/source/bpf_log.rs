//! What the eBPF programs log, where the configuration asks for it (`[log] bpf_level`).

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// Passes records on to `tracing`, at their level.
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        match record.level() {
            log::Level::Error => tracing::error!("eBPF: {}", record.args()),
            log::Level::Warn => tracing::warn!("eBPF: {}", record.args()),
            log::Level::Info => tracing::info!("eBPF: {}", record.args()),
            log::Level::Debug => tracing::debug!("eBPF: {}", record.args()),
            log::Level::Trace => tracing::trace!("eBPF: {}", record.args()),
        }
    }

    fn flush(&self) {}
}

struct Logger(EbpfLogger<ToTracing>);

impl AsRawFd for Logger {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Reads the programs' log for as long as the runtime lives.
///
/// # Errors
/// If the object has no log, or its ring buffer cannot be registered with the runtime.
pub fn follow(ebpf: &mut Ebpf) -> io::Result<()> {
    let logger = EbpfLogger::init_with_logger(ebpf, ToTracing).map_err(io::Error::other)?;
    // SAFETY: the logger owns its ring buffer's file descriptor for as long as it lives and always tells the same.
    let mut logger = unsafe { AsyncFd::register_with_interest(Logger(logger), Interest::READABLE) }?;
    tokio::spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.clear_ready();
            ready.get_inner_mut().0.flush();
        }
    });
    Ok(())
}
