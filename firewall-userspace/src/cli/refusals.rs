//! What `firewall apply` refuses, before it has changed anything.

use anyhow::Result;
use firewall_policy::Loaded;
use firewall_policy::codes::Code;
use firewall_policy::diagnostic::Diagnostic;

use super::Context;
use super::apply::Arguments;
use super::client::Numbers;
use crate::enforce::Ready;
use crate::failure::{Exit, Failure};
use crate::host::clock;
use crate::host::session::Session;
use crate::kernel::meta::Meta;
use crate::kernel::store::Store;
use crate::preflight::Found;
use crate::probe::session::reach;
use crate::report::status::You;
use crate::report::units;
use crate::verify;

/// Refuses while programs of another version of this firewall are attached.
pub(super) fn other_versions(context: &Context) -> Result<()> {
    let Some(other) = context.pins.of_other_versions().pop() else { return Ok(()) };
    let other = other.display();
    Err(Failure::new(format!("programs of another version are attached: {other}"))
        .detail("they would go on judging every packet; nothing was changed")
        .help(format!(
            "systemctl stop firewall; firewall detach --all, by the binary of that version; rm -r {other}"
        ))
        .into())
}

/// Refuses while another policy is on trial, and completes a trial that is over.
pub(super) fn trial(store: &Store) -> Result<()> {
    let Some(trial) = store.trial()? else { return Ok(()) };
    let Some(left) = trial.left else { return store.roll_back() };
    let Meta { generation, applied_by, applied_at, token, .. } = trial.candidate;
    let since = clock::Local::of(applied_at * 1000).time_of_day();
    let (left, token) = (units::age(left), token.unwrap_or_default());
    Err(Failure::new(format!(
        "generation {generation} is on trial: applied by {applied_by} at {since}, {left} left"
    ))
    .help(format!("firewall confirm {token}    or: firewall rollback"))
    .exit(Exit::Unconfirmed)
    .into())
}

/// Refuses a policy that this host cannot carry. One that boots may not be whole
/// yet, and is worse off without a policy; of one that is in force nothing is said that was said.
pub(super) fn misfit(
    context: &Context,
    loaded: &Loaded,
    (store, is_in_force): (Option<&Store>, bool),
    arguments: &Arguments,
) -> Result<()> {
    if arguments.occasion.is_some() {
        return Ok(());
    }
    let Found { mut diagnostics, mut doubts } =
        Found::on_this_host(loaded, store, arguments.confirm_within.is_some());
    if is_in_force {
        diagnostics.retain(Diagnostic::is_error);
        doubts.clear();
    }
    for one in diagnostics.iter().chain(&doubts) {
        context.out.diagnostics(&format!("{}\n", one.render(context.out.style())));
    }
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Failure::new("nothing was changed").into());
    }
    if !doubts.is_empty() && !arguments.force {
        return Err(Failure::new("the role of another host? nothing was changed").into());
    }
    Ok(())
}

/// The policy's own tests, on the programs that would enforce it.
pub(super) fn tests(
    context: &Context,
    loaded: &Loaded,
    ready: &Ready,
    arguments: &Arguments,
) -> Result<usize> {
    let verified = verify::on_program(loaded, &ready.generation)?;
    for failure in verified.failures.iter().chain(&verified.warnings) {
        context.out.diagnostics(&format!("{}\n", failure.render(context.out.style())));
    }
    // A host that boots without a policy is worse off.
    if verified.passed() || arguments.boots() {
        return Ok(verified.tests.iter().filter(|test| test.passed).count());
    }
    let failed = units::plural(verified.failures.len(), "test");
    Err(Failure::new(format!("{failed} of the policy failed; nothing was changed")).into())
}

/// Refuses a policy that would cut the session it is applied from.
pub(super) fn session(context: &Context, loaded: &Loaded, arguments: &Arguments) -> Result<()> {
    let Some(session) = Session::current() else { return Ok(()) };
    // A session by an interface that the policy leaves alone is in no danger.
    let Some(reach) = reach(&loaded.policy, &session) else { return Ok(()) };
    if reach.allowed || arguments.i_have_console || arguments.dry_run {
        return Ok(());
    }
    let Session { peer, local } = session;
    let mut error = Diagnostic::new(Code::CutsSession, "this policy would cut the session you are typing in")
        .note(format!("your session   {peer} → {local}"))
        .note(format!("now            {}", now(context)))
        .note(format!(
            "after          dropped by {}; inbound connections keep no state, so the next packet decides",
            reach.by
        ))
        .help("admit your address, or apply with --i-have-console");
    if let Some(nearest) = reach.nearest {
        error = error.note(format!("nearest        {nearest}"));
    }
    context.out.diagnostics(&format!("{}\n", error.render(context.out.style())));
    Err(Failure::new("nothing was changed").into())
}

/// What happens to the session under the policy in force, as far as that is known.
fn now(context: &Context) -> String {
    let mut numbers = Numbers::open(context).unwrap_or(Numbers::Nothing);
    let generation = numbers.snapshot(context).ok().and_then(|snapshot| snapshot.policy);
    let Some(generation) = generation.map(|policy| policy.generation) else {
        return "no policy is in force".to_owned();
    };
    match numbers.you(context) {
        Some(You { allowed: Some(allowed), by: Some(by), .. }) => {
            let verb = if allowed { "allowed" } else { "dropped" };
            format!("{verb} by {by} (generation {generation})")
        }
        _ => format!("generation {generation} is in force"),
    }
}
