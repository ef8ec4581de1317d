//! `firewall boot`.

use anyhow::Result;

use super::client::open_store;
use super::{Context, Json, apply};
use crate::candidate::Wanted;
use crate::confirmed::{self, Confirmed};
use crate::failure::Exit;
use crate::kernel::store::Store;
use crate::report::snapshot::SCHEMA;
use crate::report::status::short_hash;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  systemctl start firewall-boot     how it is run: before the network comes up
  sudo firewall boot                where there is no systemd

Enforces the copy that the last confirmed `apply` left in /var/lib/firewall,
whatever has become of /etc/firewall since; without a copy that can be used,
what /etc/firewall says. Needs no network, no name service and no agent. Where
something is enforced already there is nothing to do.")]
pub(super) struct Arguments {
    #[command(flatten)]
    json: Json,
    /// Who asks
    #[arg(long = "as", value_name = "WHO", hide = true, default_value = "boot")]
    on_behalf_of: String,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let store = open_store(context)?;
    if let Some(meta) = store.as_ref().map_or(Ok(None), Store::meta)? {
        let (number, hash) = (meta.generation, short_hash(&meta.hash));
        let links = store.map_or_else(|| Ok(Vec::new()), |store| store.attached())?;
        let state =
            if links.is_empty() { "loaded, and attached to no interface" } else { "enforced" };
        if arguments.json.json {
            context.out.json(&serde_json::json!({
                "schema": SCHEMA, "changed": false, "generation": number, "hash": meta.hash,
            }))?;
        }
        let text = format!("nothing to do: generation {number} (policy {hash}) is {state}");
        context.out.note(&text);
        return Ok(Exit::Ok);
    }
    let who = &arguments.on_behalf_of;
    match confirmed::last() {
        Ok(Some(Confirmed { config, wanted })) => {
            let options = apply::Arguments::at_boot(Wanted::default(), who, arguments.json);
            match apply::apply(context, &config, &wanted, &options) {
                Ok(exit) => return Ok(exit),
                Err(error) => unusable(context, &error),
            }
        }
        Ok(None) => context.out.note("nothing was confirmed on this host yet"),
        Err(error) => unusable(context, &error),
    }
    let config = context.config.display();
    context.out.note(&format!("taking the files in {config}"));
    let options = apply::Arguments::at_boot(Wanted::default(), who, arguments.json);
    apply::apply(context, &context.config, &Wanted::default(), &options)
}

fn unusable(context: &Context, error: &anyhow::Error) {
    context.out.note(&format!("what was confirmed last cannot be enforced: {error:#}"));
}
