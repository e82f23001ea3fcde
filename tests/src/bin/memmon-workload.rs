//! Holds memory of a known kind, pages out others, or presses on the whole machine.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use memmon_tests::workload::{
    Fill, Kind, Range, advise, control,
    mapping::{self, Mapping},
};
use sd_notify::NotifyState;

/// Memory for tests.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Map and fill memory, say "ready" (also to systemd), then obey commands.
    Hold {
        #[arg(long)]
        mib: u64,
        #[arg(long, value_enum, default_value_t = Fill::Random)]
        fill: Fill,
        #[arg(long, value_enum, default_value_t = Kind::Anon)]
        kind: Kind,
        /// Page it out before saying "ready".
        #[arg(long)]
        then_pageout: bool,
        /// Take commands from this socket instead of standard input.
        #[arg(long)]
        control: Option<PathBuf>,
    },
    /// Page out another process's memory.
    Pageout {
        #[arg(long)]
        pid: u32,
        /// Only this range (START+LENGTH, hexadecimal) instead of all its anonymous memory.
        #[arg(long)]
        range: Option<Range>,
    },
    /// Fill memory and keep writing all of it, until stopped.
    Pressure {
        #[arg(long)]
        mib: u64,
    },
    /// Take memory that cannot be reclaimed, and let go of it.
    Seize {
        #[arg(long)]
        mib: u64,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Hold {
            mib,
            fill,
            kind,
            then_pageout,
            control,
        } => {
            let mut mapping = Mapping::new(mib, kind, fill)?;
            if then_pageout {
                mapping.pageout()?;
            }
            match control {
                Some(socket) => control::serve(&mut mapping, &socket, ready),
                None => {
                    ready()?;
                    control::answer_lines(&mut mapping, io::stdin(), io::stdout())
                        .context("answering commands")
                }
            }
        }
        Command::Pageout { pid, range } => {
            let ranges = match range {
                Some(range) => vec![range],
                None => advise::anonymous_ranges(pid)?,
            };
            let mut bytes = 0;
            for range in ranges {
                bytes += advise::pageout(pid, range)?;
            }
            println!("{bytes} bytes advised");
            Ok(())
        }
        Command::Pressure { mib } => {
            let mut mapping = Mapping::new(mib, Kind::Anon, Fill::Random)?;
            ready()?;
            loop {
                mapping.write();
            }
        }
        Command::Seize { mib } => mapping::seize(mib),
    }
}

fn ready() -> Result<()> {
    let mut output = io::stdout();
    writeln!(output, "ready")
        .and_then(|()| output.flush())
        .context("saying ready")?;
    sd_notify::notify(&[NotifyState::Ready]).context("telling systemd")
}
