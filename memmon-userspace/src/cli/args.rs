//! Arguments that several subcommands take.

use std::{path::PathBuf, time::Duration};

use crate::config::{Config, ConfigErrors, Layers};

/// Beyond this a duration is taken for a mistake; it also keeps deadlines from overflowing.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Which configuration to use.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// Read FILE in the place of the files in /run/memmon and /etc/memmon
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Where to look for the configuration; also for reloading it.
    pub fn layers(&self) -> Layers {
        Layers::system().with_file(self.config.clone())
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.layers())
    }
}

/// Parses a time span: a number of seconds, or with units as in `1m 30s` and `500ms`. It is more than 0 and
/// at most a year.
///
/// # Errors
/// If it is none of that; the text says what to write.
pub fn span(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string()),
        Err(_) => humantime::parse_duration(text).map_err(|e| e.to_string()),
    };
    match parsed {
        Ok(span) if span.is_zero() => {
            Err("is no time at all: write a longer one, such as 5 or 500ms".to_owned())
        }
        Ok(span) if span > LONGEST => Err("is longer than a year: write a shorter one".to_owned()),
        Ok(span) => Ok(span),
        Err(problem) => Err(format!(
            "{problem}: write a number of seconds, or a number with a unit, such as 10m"
        )),
    }
}
