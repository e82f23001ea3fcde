//! What a workload does when told, line by line.
//!
//! | command | does | answer |
//! |---|---|---|
//! | `range` | nothing | where the memory is |
//! | `touch` | reads a byte of every page | number of pages |
//! | `write` | writes every page again | number of pages |
//! | `verify` | compares every page with what was written | number of pages |
//! | `pageout` | madvise(MADV_PAGEOUT) on itself | |
//! | `move` | mremap to other addresses | where the memory is now |
//! | `tag FIRST N LABEL` | tags N pages from the page FIRST on | the tag's id |
//! | `tag-sparse FIRST N LABEL` | tags every second page of these, one by one | how many |
//! | `untag ID` | takes a tag away | |
//! | `exec` | executes `sleep infinity` in its place | none |
//! | `fork N` | a child without exec, which writes the first N pages and then waits to be killed | its pid |

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{net::UnixListener, process::CommandExt as _},
    path::Path,
    process::Command,
    thread,
};

use anyhow::{Context, Result, bail};

use super::{
    Range,
    mapping::{Mapping, PAGE},
    tag,
};

/// Carries out one command.
///
/// # Errors
/// If it is unknown or fails.
pub fn obey(mapping: &mut Mapping, command: &str) -> Result<String> {
    let mut words = command.split_whitespace();
    match words.next() {
        Some("range") => Ok(mapping.range().to_string()),
        Some("touch") => Ok(mapping.touch().to_string()),
        Some("write") => {
            mapping.write();
            Ok((mapping.bytes().len() / PAGE).to_string())
        }
        Some("verify") => match mapping.verify() {
            Ok(pages) => Ok(pages.to_string()),
            Err(page) => bail!("page {page} is not what was written"),
        },
        Some("pageout") => mapping.pageout().map(|()| String::new()),
        Some("move") => {
            mapping.relocate()?;
            Ok(mapping.range().to_string())
        }
        Some("tag") => {
            let range = part(mapping, &mut words)?;
            let label = words.next().context("tag FIRST N LABEL")?;
            tag::tag(range, label).map(|id| id.to_string())
        }
        Some("tag-sparse") => {
            let range = part(mapping, &mut words)?;
            let label = words.next().context("tag-sparse FIRST N LABEL")?;
            tag::tag_every_second_page(range, label).map(|tags| tags.to_string())
        }
        Some("untag") => {
            let id = words.next().context("untag ID")?;
            tag::untag(id.parse().context("untag ID")?).map(|()| String::new())
        }
        Some("exec") => Err(Command::new("sleep").arg("infinity").exec()).context("exec"),
        Some("fork") => {
            let pages = words.next().unwrap_or("0").parse().context("fork N: N pages")?;
            fork(mapping, pages).map(|pid| pid.to_string())
        }
        _ => bail!("unknown command"),
    }
}

/// The pages FIRST and N of a command.
fn part<'a>(mapping: &Mapping, words: &mut impl Iterator<Item = &'a str>) -> Result<Range> {
    let mut number = |what: &str| -> Result<u64> {
        let word = words.next().with_context(|| format!("{what} is missing"))?;
        word.parse().with_context(|| format!("{what}: {word}"))
    };
    let (first, pages) = (number("FIRST")?, number("N")?);
    Ok(Range {
        start: mapping.range().start + first * PAGE as u64,
        length: pages * PAGE as u64,
    })
}

/// Serves commands on a socket, one after the other, for ever.
///
/// # Errors
/// If the socket cannot be made.
pub fn serve(mapping: &mut Mapping, socket: &Path, ready: impl FnOnce() -> Result<()>) -> Result<()> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", socket.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(socket).with_context(|| format!("binding {}", socket.display()))?;
    ready()?;
    loop {
        let (stream, _) = listener.accept().context("accepting")?;
        // A caller that went away is its own problem.
        let _ = answer_lines(mapping, &stream, &stream);
    }
}

/// Answers commands from `input` on `output` until there are no more.
///
/// # Errors
/// If reading or writing fails.
pub fn answer_lines(mapping: &mut Mapping, input: impl Read, mut output: impl Write) -> io::Result<()> {
    for line in BufReader::new(input).lines() {
        match obey(mapping, &line?) {
            Ok(answer) => writeln!(output, "ok {answer}")?,
            Err(error) => writeln!(output, "error {error:#}")?,
        }
        output.flush()?;
    }
    Ok(())
}

/// A child that shares the mapping copy-on-write; returns once it has written its pages.
fn fork(mapping: &mut Mapping, pages: usize) -> Result<i32> {
    let (mut done, told) = io::pipe().context("pipe")?;
    // SAFETY: this program has a single thread, so the child may do what the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("fork"),
        0 => {
            mapping.write_first(pages);
            drop(told);
            loop {
                thread::park();
            }
        }
        child => {
            drop(told);
            let mut nothing = Vec::new();
            done.read_to_end(&mut nothing).context("waiting for the child")?;
            Ok(child)
        }
    }
}
