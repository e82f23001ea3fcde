//! Memory pressure as systemd prescribes it: `$MEMORY_PRESSURE_WATCH` and `$MEMORY_PRESSURE_WRITE`
//! (<https://systemd.io/PRESSURE>).

use std::{
    env,
    ffi::OsString,
    fs::OpenOptions,
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, OpenOptionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
};

use rustix::{event::PollFlags, fs::OFlags};

use crate::cgroup;

/// sd-event's own: 200 ms of stall within 2 s; a window that needs no privilege.
const DEFAULT_TRIGGER: &[u8] = b"some 200000 2000000\0";

/// Something that becomes ready when memory is short.
#[derive(Debug)]
pub(crate) struct Source {
    /// What was opened.
    pub(crate) path: PathBuf,
    file: OwnedFd,
    /// `PRI` on a file of the kernel, `IN` on what carries data.
    pub(crate) events: PollFlags,
}

/// Opens what the service manager names, or what it would have named.
///
/// # Errors
/// In words: switched off, malformed, or not to be opened.
pub(crate) fn open() -> Result<Source, String> {
    from(
        env::var_os("MEMORY_PRESSURE_WATCH"),
        env::var_os("MEMORY_PRESSURE_WRITE"),
    )
}

fn from(watch: Option<OsString>, write: Option<OsString>) -> Result<Source, String> {
    let Some(path) = watch.filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return by_default();
    };
    if path == Path::new("/dev/null") {
        return Err("$MEMORY_PRESSURE_WATCH is /dev/null: switched off".to_owned());
    }
    if !path.is_absolute() {
        return Err(format!(
            "$MEMORY_PRESSURE_WATCH is {}, not an absolute path",
            path.display()
        ));
    }
    let text = write.unwrap_or_default();
    let data = base64(text.as_encoded_bytes())
        .ok_or_else(|| format!("$MEMORY_PRESSURE_WRITE is not Base64: {}", text.display()))?;
    watch_file(&path, &data).map_err(|error| format!("$MEMORY_PRESSURE_WATCH, {}: {error}", path.display()))
}

/// For what was not started by a systemd that knows the protocol (254).
fn by_default() -> Result<Source, String> {
    let own = cgroup::own().and_then(|own| own.pressure());
    let mut tried = String::new();
    for path in own.into_iter().chain([PathBuf::from("/proc/pressure/memory")]) {
        match watch_file(&path, DEFAULT_TRIGGER) {
            Ok(source) => return Ok(source),
            Err(error) => tried += &format!("; {}: {error}", path.display()),
        }
    }
    Err(format!("$MEMORY_PRESSURE_WATCH is not set{tried}"))
}

fn watch_file(path: &Path, data: &[u8]) -> io::Result<Source> {
    let kind = path.metadata()?.file_type();
    let (file, events): (OwnedFd, _) = if kind.is_socket() {
        let mut stream = UnixStream::connect(path)?;
        stream.write_all(data)?;
        stream.set_nonblocking(true)?;
        (stream.into(), PollFlags::IN)
    } else {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        // Opened for writing as well, a FIFO has no end that would have to be waited for or that could be reached.
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed());
        let mut file = options.open(path)?;
        if !data.is_empty() {
            file.write_all(data)?;
        }
        let events = if kind.is_fifo() {
            PollFlags::IN
        } else {
            PollFlags::PRI
        };
        (file.into(), events)
    };
    Ok(Source {
        path: path.to_owned(),
        file,
        events,
    })
}

impl Source {
    /// Reads away what a FIFO or socket carries; false at its end.
    pub(crate) fn discard(&self) -> bool {
        if self.events == PollFlags::PRI {
            return true;
        }
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.file, &mut buffer).map_err(io::Error::from) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// RFC 4648, with padding; `None` if it is something else.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in &text[..text.len() - padding] {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
#[path = "pressure_tests.rs"]
mod tests;
