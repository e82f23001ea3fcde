//! `memmon top`: the situation as it changes, in the terminal.

use std::{
    env,
    io::{IsTerminal as _, stdout},
    time::Duration,
};

use super::{
    CliResult, ExitCode, Failure,
    args::{self, ConfigArgs},
    ask::AskError,
    failure, output, privilege,
};
use crate::{
    action::systemd::Bus,
    config::Config,
    export::{
        dbus::{Client, ClientError},
        top::Look,
    },
    runtime::top::{self, Alone, TopOptions},
};

const EXAMPLES: &str = "\
EXAMPLES
  memmon top                 the running agent's view, once a second
  memmon top --interval 5    less often, for a slow line
  NO_COLOR=1 memmon top --ascii
                             for a terminal that knows neither colours nor Unicode

KEYS
  q quit, ? help, Tab or 1 to 4 views (units, blame, one unit, events), Enter the page
  of the unit under the cursor, / filter, s sort, r reverse, p pause

It needs no rights while an agent runs. Without one it counts by itself, which needs
root, and goes over to the agent when one starts.";

/// The agent gives the same report again to whoever asks more often.
const SHORTEST: Duration = Duration::from_millis(100);
/// So long the agent may take for its first answer before the screen is shown without.
const FIRST: Duration = Duration::from_secs(2);

/// Arguments of `memmon top`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Time between two reports: seconds, or with a unit as in 500ms
    #[arg(long, value_name = "S", default_value = "1", value_parser = interval)]
    pub interval: Duration,
    /// Only characters of ASCII, whatever the locale says
    #[arg(long)]
    pub ascii: bool,
    /// Which configuration to use without an agent.
    #[command(flatten)]
    pub config: ConfigArgs,
}

fn interval(text: &str) -> Result<Duration, String> {
    let span = args::span(text)?;
    if span < SHORTEST {
        return Err("is too short: write at least 100ms".to_owned());
    }
    Ok(span)
}

/// Shows the screen until the user quits.
///
/// # Errors
/// If there is no terminal; without an agent, if the configuration is bad, a capability is missing, or the kernel
/// cannot do it.
pub fn main(args: &Args) -> CliResult {
    let config = args.config.load()?;
    let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if !stdout().is_terminal() || dumb {
        let text = "memmon top: standard output is no terminal that a screen can be drawn on (TERM is not set, or \
                    dumb, or it goes to a file): use memmon report";
        return Err(Failure::message(ExitCode::Usage, text));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Drawing takes milliseconds: timers and the bus are looked at between a few of them.
        .event_interval(4)
        .build()?;
    let done = runtime.block_on(async {
        let alone = if is_agent_absent().await? {
            Some(alone(config)?)
        } else {
            None
        };
        let options = TopOptions {
            interval: args.interval,
            look: Look {
                colour: output::colours(&stdout()),
                unicode: !args.ascii && locale_is_unicode(|name| env::var(name).ok()),
            },
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        top::top(options, alone).await.map_err(Failure::from)
    });
    // The thread that waits for keys waits on; nobody is to wait for it.
    runtime.shutdown_background();
    done.map(|()| ExitCode::Done)
}

/// Whether it is certain that no agent runs: one that is slow to answer is waited for on the screen.
async fn is_agent_absent() -> Result<bool, Failure> {
    let asked = async { Client::connect(&Bus::System).await?.report().await };
    match tokio::time::timeout(FIRST, asked).await {
        Ok(Err(error @ ClientError::Denied(_))) => Err(AskError::from(error).failure("memmon top")),
        Ok(Err(error)) => Ok(AskError::from(error).is_absent()),
        Ok(Ok(_)) | Err(_) => Ok(false),
    }
}

/// Programs of our own.
fn alone(config: Config) -> Result<Alone, Failure> {
    let command =
        "memmon top: no agent is running (start it with systemctl start memmon.service), and without one";
    privilege::require(command, privilege::TRACE)?;
    Alone::open(config).map_err(failure::of_observer)
}

/// Whether the locale's characters are those of Unicode; the first variable that is set decides (locale(7)).
fn locale_is_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable);
    let locale = set
        .into_iter()
        .find(|value| !value.is_empty())
        .unwrap_or_default();
    let locale = locale.to_lowercase();
    locale.ends_with("utf-8") || locale.ends_with("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_that_is_set_decides() {
        let unicode = |all: &[(&str, &str)]| {
            locale_is_unicode(|name| {
                let found = all.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(unicode(&[("LANG", "en_GB.UTF-8")]));
        assert!(unicode(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(!unicode(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")]));
        assert!(!unicode(&[]));
    }
}
