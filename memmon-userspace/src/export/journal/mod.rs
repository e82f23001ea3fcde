//! Alarms and changes of limits as structured journal entries.
//!
//! They go to journald's socket directly and not through the log, so that no log level can hide them; the
//! protocol is that of systemd's JOURNAL_NATIVE_PROTOCOL. Build an [`Entry`], hand it to [`Journal::write`]; call
//! [`Journal::flush`] now and then while [`Journal::waiting`] is not 0.

mod encode;
mod entry;

pub use entry::{Entry, MESSAGES, Message};

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// Entries kept while journald does not take any.
const WAITING: usize = 256;

/// Writes entries to journald, or, where there is none, as lines to stderr.
///
/// Never waits: journald may be swapped out itself. Entries that it does not take at once are kept, in order, and
/// the oldest are given up when there are too many.
pub struct Journal {
    socket: io::Result<UnixDatagram>,
    path: PathBuf,
    fallback: Box<dyn Write + Send>,
    waiting: VecDeque<Vec<u8>>,
    lost: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new(Path::new(SOCKET), Box::new(io::stderr()))
    }
}

impl Journal {
    /// Writes to the datagram socket at `path`; to `fallback` if nobody listens there.
    pub fn new(path: &Path, fallback: Box<dyn Write + Send>) -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Self {
            socket,
            path: path.to_owned(),
            fallback,
            waiting: VecDeque::new(),
            lost: 0,
        }
    }

    /// Writes one entry.
    pub fn write(&mut self, entry: &Entry<'_>) {
        let datagram = encode::datagram(&entry.fields());
        // Those before it go first.
        if self.flush() > 0 {
            return self.keep(datagram);
        }
        match self.send(&datagram) {
            Sent::Yes => {}
            Sent::NotNow => self.keep(datagram),
            Sent::NobodyThere => self.write_line(entry),
        }
    }

    /// Tries again to write what is waiting; returns how many entries still wait.
    pub fn flush(&mut self) -> usize {
        while let Some(datagram) = self.waiting.pop_front() {
            match self.send(&datagram) {
                Sent::Yes => {}
                Sent::NotNow => {
                    self.waiting.push_front(datagram);
                    break;
                }
                // journald is gone for good; its socket outlives restarts.
                Sent::NobodyThere => self.lost += 1,
            }
        }
        self.waiting.len()
    }

    /// Entries that journald has not taken yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Entries that were given up.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn keep(&mut self, datagram: Vec<u8>) {
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(datagram);
    }

    fn send(&self, datagram: &[u8]) -> Sent {
        let Ok(socket) = &self.socket else {
            return Sent::NobodyThere;
        };
        // By path each time: the connection would not survive a new socket at the same place.
        match socket.send_to(datagram, &self.path) {
            Ok(_) => Sent::Yes,
            // A Unix socket says ENOBUFS as well when its queue is full.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.raw_os_error() == Some(ENOBUFS) => {
                Sent::NotNow
            }
            Err(_) => Sent::NobodyThere,
        }
    }

    fn write_line(&mut self, entry: &Entry<'_>) {
        // There is nowhere left to complain to.
        if writeln!(self.fallback, "{}", entry.line())
            .and_then(|()| self.fallback.flush())
            .is_err()
        {
            self.lost += 1;
        }
    }
}

const ENOBUFS: i32 = rustix::io::Errno::NOBUFS.raw_os_error();

enum Sent {
    Yes,
    NotNow,
    NobodyThere,
}

#[cfg(test)]
mod tests;
