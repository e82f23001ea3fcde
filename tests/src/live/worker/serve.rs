//! The process that owns the pages.

use std::{
    fs,
    io::{BufRead, ErrorKind, Write},
    path::Path,
    str::FromStr,
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::memory::{self, Kind, Region};

/// Obeys until the input ends.
///
/// # Errors
/// If the input cannot be read or the output not be written. A request that fails is answered.
pub fn serve(input: impl BufRead, mut output: impl Write) -> Result<()> {
    let mut owner = Owner {
        regions: Vec::new(),
        // Any odd number; xorshift only must not start at zero.
        random: u64::from(std::process::id()) << 32 | 0x9e37_79b9,
    };
    for line in input.lines() {
        match owner.obey(&line?) {
            Ok(numbers) => {
                let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
                writeln!(output, "ok {}", words.join(" "))?;
            }
            Err(error) => writeln!(output, "{error:#}")?,
        }
        output.flush()?;
    }
    Ok(())
}

struct Owner {
    regions: Vec<Option<Region>>,
    random: u64,
}

impl Owner {
    fn obey(&mut self, line: &str) -> Result<Vec<u64>> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["map", kind, bytes] => {
                let region = Region::map(Kind::parse(kind)?, number(bytes)?)?;
                let answer = vec![
                    self.regions.len() as u64,
                    region.address() as u64,
                    region.len() as u64,
                ];
                self.regions.push(Some(region));
                return Ok(answer);
            }
            ["fill", index] => self.churn(index, 1)?,
            ["zero", index] => self.region(index)?.zero(),
            ["touch", index] => self.region(index)?.touch(),
            ["pageout", index] => self.region(index)?.page_out()?,
            ["pageout-everywhere", index] => self.region(index)?.page_out_everywhere()?,
            ["churn", index, rounds] => self.churn(index, number(rounds)?)?,
            ["storm", index, rounds] => {
                for _ in 0..number(rounds)? {
                    self.churn(index, 1)?;
                    self.region(index)?.page_out()?;
                }
            }
            ["renew", index, rounds] => {
                for _ in 0..number(rounds)? {
                    self.churn(index, 1)?;
                    self.region(index)?.page_out()?;
                    self.region(index)?.forget()?;
                }
            }
            ["swapped", index] => return Ok(vec![self.region(index)?.swapped()?]),
            ["unmap", index] => {
                self.region(index)?;
                self.regions[number::<usize>(index)?] = None;
            }
            ["advise", pid, address, bytes] => {
                let advised = memory::page_out_of(number(pid)?, number(address)?, number(bytes)?)?;
                return Ok(vec![advised]);
            }
            ["write", path, value @ ..] => {
                return Ok(vec![u64::from(write(Path::new(path), &value.join(" "))?)]);
            }
            ["enter", dir] => {
                let file = Path::new(dir).join("cgroup.procs");
                fs::write(&file, "0").with_context(|| format!("entering {}", file.display()))?;
            }
            _ => bail!("no such request: {line}"),
        }
        Ok(Vec::new())
    }

    fn region(&self, index: &str) -> Result<&Region> {
        self.regions
            .get(number::<usize>(index)?)
            .and_then(Option::as_ref)
            .ok_or_else(|| anyhow!("no region {index}"))
    }

    fn churn(&mut self, index: &str, rounds: usize) -> Result<()> {
        let mut random = self.random;
        for _ in 0..rounds {
            self.region(index)?.fill(&mut random);
        }
        self.random = random;
        Ok(())
    }
}

/// `false`: the kernel did what it could.
fn write(path: &Path, value: &str) -> Result<bool> {
    match fs::write(path, value) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ResourceBusy) => Ok(false),
        done => done
            .with_context(|| format!("writing {value} to {}", path.display()))
            .map(|()| true),
    }
}

fn number<T: FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| anyhow!("not a number: {word}"))
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
