//! Package `cli`: a recovery group as a person reads it: its members, the ways between them, its terms, and what it still
//! lacks. Must not print.

use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::command::Command as Question;
use rjournal::daemon::command::group::{
    DescribeGroups, GroupDescription, MemberDescription, PrimaryTold, TermDescription, WhoIsPrimary,
};
use rjournal::entry::{Name, TermReason, Timestamp};
use rjournal::remote::MemberRole;

use crate::commands::Context;
use crate::error::CliError;
use crate::output::{Form, Page};
use crate::text;

/// Terms shown; `--json` lists all.
const TERMS_SHOWN: usize = 20;
/// How often it is looked what a group does.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long such a look may take.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Who is primary of a group, or of the only one.
pub(crate) async fn primary_of(
    client: &Client,
    crg: Option<Name>,
) -> Result<PrimaryTold, CliError> {
    Ok(client.run(WhoIsPrimary { group: crg }).await?)
}

/// Runs a request that may take long, and shows who watches what the group does meanwhile.
pub(crate) async fn watched<Q: Question>(
    context: &Context<'_>,
    group: Name,
    request: Q,
) -> Result<Q::Reply, CliError> {
    let client = context.client().await?;
    let progress = context.output.progress();
    let run = client.run(request);
    tokio::pin!(run);
    loop {
        tokio::select! {
            reply = &mut run => return Ok(reply?),
            () = tokio::time::sleep(LOOK_EVERY), if context.output.is_watched() => {
                let look = tokio::time::timeout(LOOK_MAX, doing(context, group));
                let doing = look.await.ok().and_then(Result::ok).flatten();
                let asks = || format!("asking the members of group {group}");
                progress.show(&doing.unwrap_or_else(asks));
            }
        }
    }
}

async fn doing(context: &Context<'_>, group: Name) -> Result<Option<String>, CliError> {
    let asked = DescribeGroups { name: Some(group) };
    let mut described = context.client().await?.run(asked).await?;
    let Some(group) = described.groups.pop() else {
        return Ok(None);
    };
    let behind = lacks(&group);
    Ok(match (group.doing, behind.first()) {
        (Some(doing), Some(lack)) => Some(format!("{doing}: {lack}")),
        (doing, _) => doing,
    })
}

/// Members other than this system.
pub(crate) fn others(group: &GroupDescription) -> impl Iterator<Item = &MemberDescription> {
    group.members.iter().filter(|member| !member.is_here)
}

/// What is not there yet for every member to follow and every way to be known.
pub(crate) fn lacks(group: &GroupDescription) -> Vec<String> {
    let term = group.primary.term;
    let mut lacks = Vec::new();
    for member in others(group) {
        let name = member.name;
        if member.follows != term {
            lacks.push(format!("{name} does not follow term {term} yet"));
        }
        if member.path.is_none() {
            lacks.push(format!("the way to {name} was not tried yet"));
        }
        if member.way_back.is_none() {
            lacks.push(format!("the way back from {name} was not tried yet"));
        }
    }
    lacks
}

/// Ways between members that were tried and are not open.
pub(crate) fn closed_ways(group: &GroupDescription) -> Vec<String> {
    let mut closed = Vec::new();
    for member in others(group) {
        let name = member.name;
        if let Some(Err(error)) = &member.path {
            closed.push(format!("the way to {name} is not open: {error}"));
        }
        if let Some(Err(error)) = &member.way_back {
            closed.push(format!("the way back from {name} is not open: {error}"));
        }
    }
    closed
}

/// Everything about a group.
pub(crate) fn page(group: &GroupDescription) -> String {
    let mut form = Form::new();
    form.head(&format!(
        "Recovery group {}   {}   term {}",
        group.name,
        group.role.as_str(),
        group.primary.term
    ));
    if !group.text.is_empty() {
        form.line("Text", &group.text);
    }
    form.line("Primary", primary(&group.primary));
    form.line("Delivery", if group.sync { "*SYNC" } else { "*ASYNC" });
    if let Some(doing) = &group.doing {
        form.line("Under way", doing);
    }
    if let Some(stopped) = &group.stopped {
        form.line("Stopped", stopped);
    }
    form.head("Members").block(&members(group));
    form.head("Ways").block(&ways(group));
    form.head("Terms").block(&terms(&group.terms));
    form.text()
}

/// Who is primary, and whether deposits are taken there.
fn primary(told: &PrimaryTold) -> String {
    let Some(primary) = told.primary else {
        return format!("*NONE: term {} is claimed and not opened", told.term);
    };
    let takes = if told.open {
        "takes deposits"
    } else {
        "takes no deposits"
    };
    if told.here {
        return format!("{primary} (this system), {takes} to {}", told.journal);
    }
    let address = told.address.as_deref().unwrap_or("no address here");
    format!(
        "{primary} at {address}, {takes}, heard {}",
        heard(told.heard_at)
    )
}

/// When somebody was heard.
pub(crate) fn heard(at: Timestamp) -> String {
    if at == Timestamp::ZERO {
        "never".to_owned()
    } else {
        text::time(at)
    }
}

fn members(group: &GroupDescription) -> String {
    let mut page = Page::new(&[
        "Member", "Role", "Journal", "Here", "Open", "Follows", ">Flushed", ">Applied", "Heard",
    ]);
    let mut notes = Vec::new();
    let count = |sequence: Option<rjournal::entry::Sequence>| {
        sequence.map_or_else(|| "-".to_owned(), |sequence| text::count(sequence.get()))
    };
    let known = group.primary.primary.is_some();
    for member in &group.members {
        let follows = member.follows == group.primary.term;
        // What one that does not answer said last of itself may be so no more.
        let answers = member.error.is_none() && member.heard_at != Timestamp::ZERO;
        let said = |what: &str| if answers { what } else { "-" }.to_owned();
        page.row(vec![
            member.name.to_string(),
            member
                .role
                .filter(|_| answers)
                .map_or("unknown", MemberRole::as_str)
                .to_owned(),
            member.journal.to_string(),
            member
                .here
                .map_or_else(|| "-".to_owned(), |here| here.to_string()),
            said(text::yes_no(member.open)),
            said(text::yes_no(follows)),
            count(member.flushed),
            count(member.applied),
            if member.is_here {
                "this system".to_owned()
            } else {
                heard(member.heard_at)
            },
        ]);
        match &member.error {
            Some(error) => notes.push(format!("{} does not answer: {error}", member.name)),
            None if !follows && known && group.stopped.is_none() => notes.push(format!(
                "{} does not follow term {} yet: what was written before it is not complete there, or is being brought in order",
                member.name, group.primary.term
            )),
            None => {}
        }
    }
    let lines = std::iter::once(page.text()).chain(notes);
    lines.collect::<Vec<_>>().join("\n")
}

fn ways(group: &GroupDescription) -> String {
    let mut page = Page::new(&["Member", "From here to it", "From it to here"]);
    let way = |found: &Option<Result<Timestamp, String>>| match found {
        None => "not tried yet".to_owned(),
        Some(Ok(at)) => format!("open, tried {}", text::time(*at)),
        Some(Err(error)) => format!("NOT OPEN: {error}"),
    };
    for member in others(group) {
        page.row(vec![
            member.name.to_string(),
            way(&member.path),
            way(&member.way_back),
        ]);
    }
    page.text()
}

fn terms(terms: &[TermDescription]) -> String {
    let mut page = Page::new(&[">Term", "Primary", "Began", ">First", ">Last", "Opened"]);
    for term in terms.iter().take(TERMS_SHOWN) {
        page.row(vec![
            term.term.to_string(),
            term.primary.clone(),
            began(term.reason).to_owned(),
            text::count(term.first.get()),
            term.last
                .map_or_else(|| "-".to_owned(), |last| text::count(last.get())),
            text::time(term.opened_at),
        ]);
    }
    match terms.len().saturating_sub(TERMS_SHOWN) {
        0 => page.text(),
        older => format!(
            "{}\n{} older ones: --json lists them",
            page.text(),
            text::count(older as u64)
        ),
    }
}

const fn began(reason: TermReason) -> &'static str {
    match reason {
        TermReason::Created => "*CREATED",
        TermReason::HandedOver => "*HANDEDOVER",
        TermReason::TakenBack => "*TAKENBACK",
        TermReason::TakenOver => "*TAKENOVER",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rjournal::entry::{JournalId, Sequence, SystemId};

    use super::*;

    pub(crate) fn told(here: bool) -> PrimaryTold {
        PrimaryTold {
            group: "ORDERS".parse().unwrap(),
            term: 2,
            primary: Some(if here { "PRD" } else { "BKP" }.parse().unwrap()),
            address: (!here).then(|| "127.0.0.1:7102".to_owned()),
            here,
            open: true,
            role: if here {
                MemberRole::Primary
            } else {
                MemberRole::Backup
            },
            journal: "PRDLIB/JRN".parse().unwrap(),
            heard_at: Timestamp::ZERO,
        }
    }

    fn member(name: &str, journal: &str, is_here: bool) -> MemberDescription {
        MemberDescription {
            name: name.parse().unwrap(),
            system: SystemId::from_bytes([1; 16]),
            is_here,
            journal: journal.parse().unwrap(),
            here: Some("PRDLIB/JRN".parse().unwrap()),
            role: Some(if is_here {
                MemberRole::Primary
            } else {
                MemberRole::Backup
            }),
            open: is_here,
            follows: 2,
            flushed: Some(Sequence::new(1_234)),
            applied: None,
            heard_at: Timestamp::from_micros(1),
            error: None,
            path: None,
            way_back: None,
            health: None,
        }
    }

    pub(crate) fn group() -> GroupDescription {
        GroupDescription {
            name: "ORDERS".parse().unwrap(),
            sync: true,
            text: "Orders".to_owned(),
            role: MemberRole::Primary,
            promised: 2,
            stopped: None,
            doing: None,
            primary: told(true),
            members: vec![
                member("PRD", "PRDLIB/JRN", true),
                member("BKP", "BKPLIB/BKP", false),
            ],
            terms: vec![TermDescription {
                term: 2,
                primary: "PRD".to_owned(),
                journal: JournalId::from_bytes([2; 16]),
                first: Sequence::new(9),
                last: None,
                reason: TermReason::HandedOver,
                opened_at: Timestamp::ZERO,
            }],
        }
    }

    #[test]
    fn a_group_is_shown_with_its_members_their_ways_and_its_terms() {
        let mut group = group();
        group.members[1].way_back = Some(Err("no address".to_owned()));
        group.members[1].heard_at = Timestamp::ZERO;
        assert_eq!(
            page(&group),
            "Recovery group ORDERS   *PRIMARY   term 2\n\
             \x20 Text . . . . . . . . . :  Orders\n\
             \x20 Primary  . . . . . . . :  PRD (this system), takes deposits to PRDLIB/JRN\n\
             \x20 Delivery . . . . . . . :  *SYNC\n\
             \n\
             Members\n\
             \x20 Member  Role      Journal     Here        Open  Follows  Flushed  Applied  Heard\n\
             \x20 PRD     *PRIMARY  PRDLIB/JRN  PRDLIB/JRN  *YES  *YES       1 234        -  this system\n\
             \x20 BKP     unknown   BKPLIB/BKP  PRDLIB/JRN  -     -          1 234        -  never\n\
             \n\
             Ways\n\
             \x20 Member  From here to it  From it to here\n\
             \x20 BKP     not tried yet    NOT OPEN: no address\n\
             \n\
             Terms\n\
             \x20 Term  Primary  Began        First  Last  Opened\n\
             \x20    2  PRD      *HANDEDOVER      9     -  -"
        );
    }

    #[test]
    fn what_a_group_lacks_is_told_member_by_member() {
        let mut group = group();
        group.members[1].follows = 0;
        group.members[1].path = Some(Err("refused".to_owned()));
        assert_eq!(
            lacks(&group),
            [
                "BKP does not follow term 2 yet",
                "the way back from BKP was not tried yet"
            ]
        );
        assert_eq!(closed_ways(&group), ["the way to BKP is not open: refused"]);
        assert!(page(&group).contains("BKP does not follow term 2 yet: what was written"));
        group.members[1].error = Some("it did not answer in time".to_owned());
        let shown = page(&group);
        assert!(
            shown.contains("BKP     unknown   BKPLIB/BKP  PRDLIB/JRN  -     -"),
            "{shown}"
        );
        assert!(
            shown.contains("BKP does not answer: it did not answer in time"),
            "{shown}"
        );
    }
}
