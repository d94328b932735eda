//! Command CHGJRN.

use std::process::ExitCode;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::command::journal::{
    ChangeJournal, DescribeJournals, JournalDescription, JournalState, OpenChoice, ReceiverChoice,
};
use rjournal::entry::QualifiedName;

use super::Context;
use crate::attributes::{AttributeArgs, choose};
use crate::error::CliError;
use crate::text::special;

/// How long a journal that was told to open, or a policy that members are to know first, may take before its state is told.
const CHANGING_MAX: Duration = Duration::from_secs(5);
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Change a journal: attach its next receiver, open it, change its attributes
///
/// OPEN is an operator's word on a journal that waits for its in-sync set (*OPENING): *ALONE opens it without hearing
/// everybody; *ADOPT takes over whatever a member holds, however much. JRNSTATE is for a remote journal whose source is
/// gone for good; otherwise it is changed on the source (CHGRMTJRN).
///
/// POLICY(*DEGRADE) after *BLOCK or *REJECT is in force once every member of the in-sync set has it on its disk: a takeover
/// there relies on the stricter one. A stricter policy is in force at once.
///
/// Example: rjournal chgjrn --jrn PRDLIB/JRN --jrnrcv '*GEN'
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The journal
    #[arg(long, value_name = "LIB/NAME")]
    jrn: QualifiedName,

    /// Attach a receiver named after the last one (*GEN), or this one
    #[arg(long, value_name = "*GEN|LIB/NAME")]
    jrnrcv: Option<String>,

    /// Open a journal that waits for its in-sync set
    #[arg(long, value_name = "*ALONE|*ADOPT")]
    open: Option<String>,

    /// Whether a remote journal may be fed
    #[arg(long, value_name = "*ACTIVE|*INACTIVE")]
    jrnstate: Option<String>,

    /// Loosen the policy without members of the in-sync set that cannot be told now. It voids the guarantee that nothing is
    /// answered without them: a takeover there cannot know
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    attributes: AttributeArgs,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let journal = args.jrn;
    let with_attributes = args.attributes != AttributeArgs::default();
    let request = ChangeJournal {
        journal,
        receiver: receiver(args.jrnrcv.as_deref())?,
        open: choose(
            args.open,
            "OPEN",
            &[("ALONE", OpenChoice::Alone), ("ADOPT", OpenChoice::Adopt)],
        )?,
        attributes: args.attributes.patch()?,
        force: args.force,
        fed: choose(
            args.jrnstate,
            "JRNSTATE",
            &[("ACTIVE", true), ("INACTIVE", false)],
        )?,
    };
    let (receiver, open, fed) = (request.receiver.is_some(), request.open, request.fed);
    if open.is_some() && (receiver || fed.is_some() || with_attributes) {
        return Err(CliError::invalid(
            "OPEN stands alone: change the rest once the journal is open",
        ));
    }
    if open.is_none() && !receiver && fed.is_none() && !with_attributes {
        return Err(CliError::invalid(format!(
            "nothing to change in {journal} was given"
        )));
    }
    let client = context.client().await?;
    let changed = client.run(request).await?;
    let after = describe(&client, journal, open.is_some(), with_attributes).await?;
    let after = after.as_ref();
    let state = after.map_or("unknown", |after| after.state.as_str());
    let value = serde_json::json!({
        "receiver": changed.receiver,
        "state": after.map(|after| after.state),
        "policy_ordered": after.and_then(|after| after.policy_ordered),
    });
    context.output.result(&value, |_| {
        let mut said = Vec::new();
        if let Some(attached) = changed.receiver {
            said.push(format!(
                "Receiver {attached} attached to journal {journal}."
            ));
        }
        if open.is_some() || fed.is_some() {
            said.push(format!("Journal {journal} is {state} now."));
            said.extend(after.and_then(|after| after.note.clone()));
        }
        if with_attributes && changed.attributes {
            said.push(format!("Attributes of journal {journal} changed."));
        } else if with_attributes {
            said.push(format!(
                "Attributes of journal {journal} were so already: nothing was changed."
            ));
        }
        let waiting = after.filter(|after| with_attributes && after.policy_ordered.is_some());
        if let Some(note) = waiting.and_then(|after| after.note.as_ref()) {
            said.push(format!(
                "Not in force yet: {note}. WRKJRNA shows when it is."
            ));
        }
        said.join("\n")
    });
    Ok(ExitCode::SUCCESS)
}

/// How the journal is now; one that was told to open is given a moment for it, and so is a policy that members are to know
/// first.
async fn describe(
    client: &Client,
    journal: QualifiedName,
    opening: bool,
    changing: bool,
) -> Result<Option<JournalDescription>, CliError> {
    let deadline = tokio::time::Instant::now() + CHANGING_MAX;
    loop {
        let mut described = client
            .run(DescribeJournals {
                journal: Some(journal),
            })
            .await?
            .journals;
        let found = described.pop();
        let opens = opening
            && found
                .as_ref()
                .is_some_and(|found| found.state == JournalState::Opening);
        let waits = changing
            && found
                .as_ref()
                .is_some_and(|found| found.policy_ordered.is_some());
        if !(opens || waits) || tokio::time::Instant::now() > deadline {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn receiver(given: Option<&str>) -> Result<Option<ReceiverChoice>, CliError> {
    match given {
        None => Ok(None),
        Some(given) if special(given) == "SAME" => Ok(None),
        Some(given) if special(given) == "GEN" => Ok(Some(ReceiverChoice::Generate)),
        Some(given) => match given.parse() {
            Ok(name) => Ok(Some(ReceiverChoice::Named(name))),
            Err(error) => Err(CliError::invalid(format!(
                "JRNRCV {given}: *GEN or LIB/NAME is needed ({error})"
            ))),
        },
    }
}
