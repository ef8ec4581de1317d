//! `firewall rates`.

use anyhow::Result;

use super::client::Numbers;
use super::{Context, Json, Watch, repeat};
use crate::failure::Exit;
use crate::report::history::Window;
use crate::report::rates;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall rates --watch
  firewall rates --window 1m --json | jq '.rates[] | {name, minute}'

The series under `rates:` come first, then the busiest rules, then what no
rule matched. `–` is what was not measured: without an agent there is only the
last second.")]
pub(super) struct Arguments {
    /// Show one window: 1s, 10s, 1m or 15m
    #[arg(long, value_parser = window)]
    window: Option<Window>,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    json: Json,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let mut numbers = Numbers::open(context)?;
    repeat(context, (arguments.watch, arguments.json), || {
        let snapshot = numbers.with_rates(context)?;
        if arguments.json.json {
            context.out.json(&rates::json(&snapshot))
        } else {
            context.out.screen(&rates::text(&snapshot, arguments.window), arguments.watch)
        }
    })?;
    Ok(Exit::Ok)
}

fn window(text: &str) -> Result<Window, String> {
    match text {
        "1s" => Ok(Window::Second),
        "10s" => Ok(Window::TenSeconds),
        "1m" => Ok(Window::Minute),
        "15m" => Ok(Window::QuarterHour),
        _ => Err("a window is 1s, 10s, 1m or 15m".to_owned()),
    }
}
