//! The lines of the lease file: what is written, and what is made of what is found.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::checksum::crc32;
use super::lease::Lease;
use crate::policy::LeaseId;

/// More than any host needs; a larger file is not one of memmon's.
pub(super) const LARGEST: u64 = 16 << 20;

/// What a line says, to be written.
#[derive(serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry<'a> {
    /// A lease is in force, as it is now.
    Lease(&'a Lease),
    /// A lease has ended.
    Ended(LeaseId),
}

/// What a line says, as found.
#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Found {
    Lease(Box<Lease>),
    Ended(LeaseId),
}

/// A line is `{"crc":"xxxxxxxx",` and the rest; the checksum is that of the rest without its newline.
const HEAD: usize = r#"{"crc":"00000000","#.len();

pub(super) fn encode(into: &mut Vec<u8>, entry: &Entry<'_>) -> io::Result<()> {
    let start = into.len();
    into.extend_from_slice(&[b' '; HEAD]);
    let body = into.len();
    serde_json::to_writer(&mut *into, entry)?;
    // The entry is an object; its brace has become part of the head.
    into.remove(body);
    let crc = crc32(&into[body..]);
    let mut head = &mut into[start..body];
    write!(head, r#"{{"crc":"{crc:08x}","#)?;
    into.push(b'\n');
    Ok(())
}

fn parse(line: &[u8]) -> Option<Found> {
    let (head, body) = line.split_at_checked(HEAD)?;
    let expected = format!(r#"{{"crc":"{:08x}","#, crc32(body));
    if head != expected.as_bytes() {
        return None;
    }
    let mut text = Vec::with_capacity(body.len() + 1);
    text.push(b'{');
    text.extend_from_slice(body);
    serde_json::from_slice(&text).ok()
}

/// What a file's bytes say.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) live: BTreeMap<LeaseId, Lease>,
    pub(super) highest: u64,
    pub(super) cut_short: bool,
    /// Bytes before the line that was cut short.
    pub(super) intact: u64,
    pub(super) lines: usize,
    pub(super) bad_line: Option<usize>,
}

/// Reads a lease file.
pub(super) fn replay(bytes: &[u8]) -> Replay {
    let mut replay = Replay::default();
    if bytes.len() as u64 > LARGEST {
        replay.bad_line = Some(1);
        return replay;
    }
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let complete = line.strip_suffix(b"\n");
        match parse(complete.unwrap_or(line)) {
            Some(Found::Lease(lease)) => {
                replay.highest = replay.highest.max(lease.id.0);
                replay.live.insert(lease.id, *lease);
            }
            Some(Found::Ended(id)) => {
                replay.highest = replay.highest.max(id.0);
                replay.live.remove(&id);
            }
            // Only the last line has no newline, and only a write that was cut short leaves such a one.
            None if complete.is_none() && begins_like_a_line(line) => replay.cut_short = true,
            None => replay.bad_line = replay.bad_line.or(Some(index + 1)),
        }
        if !replay.cut_short {
            replay.intact += line.len() as u64;
            replay.lines += 1;
        }
    }
    replay
}

fn begins_like_a_line(line: &[u8]) -> bool {
    line.iter().zip(br#"{"crc":"00000000","#).all(|(&got, &want)| {
        if want == b'0' {
            got.is_ascii_hexdigit()
        } else {
            got == want
        }
    })
}
