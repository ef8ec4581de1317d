//! `firewall completions`.

use anyhow::Result;
use clap_complete::Shell;

use super::Context;
use crate::failure::Exit;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall completions bash > /etc/bash_completion.d/firewall
  firewall completions fish > ~/.config/fish/completions/firewall.fish
  firewall completions zsh > /usr/share/zsh/site-functions/_firewall")]
pub(super) struct Arguments {
    /// Shell to complete for
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let shell = match arguments.shell.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::grammar(), "firewall", &mut script);
    context.out.text(&String::from_utf8(script)?)?;
    Ok(Exit::Ok)
}
