//! `memmon man`: the manual pages.

use std::{io, path::PathBuf};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{AFTER_HELP, Cli, CliResult, ExitCode, output};

/// Arguments of `memmon man`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Write memmon.1 and one page per subcommand into DIR
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Prints the page, or writes the pages.
///
/// # Errors
/// If standard output or the directory cannot be written to.
pub fn main(args: &Args) -> CliResult {
    match &args.dir {
        None => output::print(&page().context("rendering the manual page")?)?,
        Some(dir) => clap_mangen::generate_to(Cli::command(), dir)
            .with_context(|| format!("writing the manual pages to {}", dir.display()))?,
    }
    Ok(ExitCode::Done)
}

/// One page with everything: that of the program, each subcommand as a section of its own.
fn page() -> io::Result<String> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    let whole = Man::new(command.clone());
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    for subcommand in command.get_subcommands() {
        sections(subcommand, &mut page)?;
    }
    Ok(String::from_utf8_lossy(&page).into_owned() + &tail(AFTER_HELP))
}

/// The text behind the help as roff: each line that is not indented becomes the title of a section. (clap_mangen
/// would put all of it under the title EXTRA.)
fn tail(text: &str) -> String {
    let mut page = String::new();
    for line in text.lines() {
        let line = line
            .replace('\\', r"\e")
            .replace('-', r"\-")
            .replace('\'', r"\(aq");
        if line.is_empty() {
            page.push_str(".fi\n");
        } else if line.starts_with(' ') {
            page += &format!("{}\n", line.trim_start());
        } else {
            page += &format!(".SH \"{line}\"\n.nf\n");
        }
    }
    page + ".fi\n"
}

fn sections(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    if command.has_subcommands() {
        return command
            .get_subcommands()
            .try_for_each(|subcommand| sections(subcommand, page));
    }
    let name = command
        .get_bin_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let man = Man::new(command.clone());
    let mut body = Vec::new();
    man.render_synopsis_section(&mut body)?;
    man.render_description_section(&mut body)?;
    man.render_options_section(&mut body)?;
    page.extend(format!(".SH \"{}\"\n", name.to_uppercase()).bytes());
    page.extend(String::from_utf8_lossy(&body).replace(".SH ", ".SS ").bytes());
    Ok(())
}
