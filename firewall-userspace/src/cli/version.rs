//! `firewall version`.

use anyhow::Result;
use firewall_common::ABI_VERSION;
use serde::Serialize;

use super::{Context, Json};
use crate::failure::Exit;
use crate::host::kernel;
use crate::report::snapshot::SCHEMA;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    json: Json,
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    version: &'static str,
    abi: u32,
    kernel: Option<String>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let document = Document {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        abi: ABI_VERSION,
        kernel: kernel::release(),
    };
    if arguments.json.json {
        context.out.json(&document)?;
    } else {
        let kernel = document.kernel.as_deref().unwrap_or("unknown");
        let Document { version, abi, .. } = document;
        context
            .out
            .line(&format!("firewall {version}   kernel interface v{abi}   Linux {kernel}"))?;
    }
    Ok(Exit::Ok)
}
