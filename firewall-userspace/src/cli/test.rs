//! `firewall test`.

use anyhow::Result;
use serde::Serialize;

use super::{Context, Json};
use crate::candidate::{self, Wanted};
use crate::enforce::Ready;
use crate::failure::{Exit, Failure};
use crate::host::users;
use crate::probe::engine::Engine;
use crate::report::snapshot::SCHEMA;
use crate::report::units;
use crate::verify::{self, Tested, Verified};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo firewall test                          on the programs that would enforce
  firewall test rules/web.yaml --model        outside the kernel, without root

Each test is a sentence of the policy's owner: who reaches what. They run on
programs with maps of their own: nothing that is enforced or counted is
touched.")]
pub(super) struct Arguments {
    #[command(flatten)]
    wanted: Wanted,
    /// Use the model instead of the BPF programs; needs no root
    #[arg(long)]
    model: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    engine: &'static str,
    passed: usize,
    failed: usize,
    tests: &'a [Tested],
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let what = arguments.wanted.words();
    let loaded = candidate::read(&context.config, &arguments.wanted)
        .map_err(|report| super::check::refused(context, &report, &what, arguments.json))?;
    let ready = Ready::new(None, &loaded.policy)?;
    let mut engine = engine(&ready, arguments.model)?;
    let verified = verify::run(&loaded, &mut engine)?;
    let failed = verified.failures.len();
    if arguments.json.json {
        let tests = &verified.tests;
        let passed = tests.iter().filter(|test| test.passed).count();
        let engine = engine.name();
        context.out.json(&Document { schema: SCHEMA, engine, passed, failed, tests })?;
    } else {
        print(context, &verified, &engine)?;
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Error })
}

/// The programs, or the model where that was asked for.
pub(super) fn engine(ready: &Ready, model: bool) -> Result<Engine> {
    if model {
        return Ok(Engine::model(&ready.generation));
    }
    Engine::program(&ready.generation).map_err(|error| {
        if users::effective_uid() == 0 {
            return error;
        }
        Failure::not_permitted("only root may load BPF programs")
            .help("add --model to run the same code outside the kernel, or use sudo")
            .into()
    })
}

fn print(context: &Context, verified: &Verified, engine: &Engine) -> Result<()> {
    let style = context.out.style();
    for failure in verified.failures.iter().chain(&verified.warnings) {
        context.out.diagnostics(&format!("{}\n", failure.render(style)));
    }
    let failed = verified.failures.len();
    let passed = verified.words("passed");
    let on = engine.name();
    if verified.tests.is_empty() {
        return context.out.line("the policy carries no tests; `tests:` in a role file holds them");
    }
    context.out.line(&match failed {
        0 => format!("{passed} on {on}"),
        _ => format!("{} failed, {passed} on {on}", units::plural(failed, "test")),
    })
}
