//! Command DSPJRN.

use std::process::ExitCode;

use jiff::tz::TimeZone;
use rjournal::Client;
use rjournal::daemon::command::entries::{DisplayEntries, DisplayedEntry, Entries};
use rjournal::daemon::command::journal::DescribeJournals;
use rjournal::daemon::{Along, Followed};
use rjournal::entry::{FileName, QualifiedName, Sequence};
use serde::Serialize;

use super::Context;
use crate::attributes::choose;
use crate::error::CliError;
use crate::objects::Objects;
use crate::output::Columns;
use crate::text;
use crate::when;

/// Entries shown when no number was given.
const COUNT_DEFAULT: u32 = 100;
/// Entries shown before following when no number was given.
const COUNT_FOLLOWING: u32 = 10;
/// A request is made for at most about so many bytes of entries.
const REPLY_BYTES: usize = 4 * 1024 * 1024;
/// Most entries of one request.
const REPLY_ENTRIES: usize = 10_000;
/// Bytes of an image that are asked for so that its values can be shown.
const IMAGE_BYTES: usize = 4096;
/// The first stretch that is looked through from the end.
const STRETCH: u64 = 4096;

/// Display journal entries
///
/// Times: 2026-11-21 10:00 (this machine's zone), 2026-11-21T10:00:00Z, 10:00 (today), -10m (ten minutes ago; s, m, h, d).
///
/// Example: rjournal dspjrn --jrn PRDLIB/JRN --newest --count 20
///
/// Example: rjournal dspjrn --jrn BKPLIB/JRN --code R --file PRDLIB/CUSTOMER --fromtime=-10m
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The journal, local or remote
    #[arg(long, value_name = "LIB/NAME")]
    jrn: QualifiedName,

    /// The first entry
    #[arg(long, visible_alias = "from", value_name = "SEQUENCE")]
    froment: Option<u64>,

    /// The last entry
    #[arg(long, visible_alias = "to", value_name = "SEQUENCE")]
    toent: Option<u64>,

    /// How many entries at most [default: 100]
    #[arg(long, visible_alias = "count", value_name = "ENTRIES", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    nbrent: Option<u32>,

    /// The last ones rather than the first
    #[arg(long)]
    newest: bool,

    /// Only these journal codes: R (records), C (commitment), D and F (files), J (the journal), U (users' own)
    #[arg(
        long,
        visible_alias = "code",
        value_name = "CODES",
        value_delimiter = ','
    )]
    jrncde: Vec<String>,

    /// Only this file
    #[arg(long, value_name = "LIB/NAME")]
    file: Option<FileName>,

    /// Only this commit cycle: the number of its C SC entry
    #[arg(long, visible_alias = "ccid", value_name = "SEQUENCE")]
    cycle: Option<u64>,

    /// Only entries deposited at or after this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    fromtime: Option<String>,

    /// Only entries deposited at or before this time
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        conflicts_with = "follow"
    )]
    totime: Option<String>,

    /// Only what is confirmed (a copy) or answered (a local journal), or *ALL that is on this disk
    #[arg(long, value_name = "*CONFIRMED|*ALL", default_value = "*CONFIRMED")]
    incent: String,

    /// How the entries' data is shown
    #[arg(long, value_name = "*TEXT|*HEX|*NONE", default_value = "*TEXT")]
    payload: String,

    /// How much of the data is shown, in characters or bytes
    #[arg(long, value_name = "LENGTH", default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    entdtalen: u32,

    /// Go on and show new entries as they are confirmed or answered
    #[arg(long)]
    follow: bool,
}

/// How data is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Data {
    Text,
    Hex,
    None,
}

/// An entry as it is printed.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    facts: Facts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

#[derive(Debug, Serialize)]
struct Facts<'a> {
    sequence: Sequence,
    time: rjournal::entry::Timestamp,
    kind: rjournal::entry::Kind,
    object: Option<rjournal::entry::ObjectId>,
    file: Option<&'a FileName>,
    count: u64,
    cycle: Sequence,
    format: u32,
    indicator: u8,
    job: Option<&'a str>,
    user: Option<&'a str>,
    program: Option<&'a str>,
    system: Option<&'a str>,
    key: Option<rjournal::entry::DepositKey>,
    confirmed: bool,
    payload_length: u64,
}

/// What is wanted, and what was shown of it.
struct Display<'a> {
    context: &'a Context<'a>,
    client: &'a Client,
    objects: Objects<'a>,
    wanted: DisplayEntries,
    data: Data,
    length: usize,
    columns: Columns,
    /// Entries shown so far.
    shown: u64,
    /// With `--json` and without following: everything that was found.
    kept: Vec<serde_json::Value>,
    follow: bool,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let data = choose(
        Some(args.payload.clone()),
        "PAYLOAD",
        &[
            ("TEXT", Data::Text),
            ("HEX", Data::Hex),
            ("NONE", Data::None),
        ],
    )?;
    let data = data.unwrap_or(Data::Text);
    let unconfirmed = choose(
        Some(args.incent.clone()),
        "INCENT",
        &[("CONFIRMED", false), ("ALL", true)],
    )?
    .unwrap_or(false);
    if unconfirmed && args.follow {
        return Err(CliError::invalid(
            "FOLLOW shows entries as they are confirmed: INCENT(*ALL) does not go with it",
        ));
    }
    let mut wanted = wanted(&args, unconfirmed)?;
    let client = context.client().await?;
    let mut objects = Objects::load(&client, args.jrn).await?;
    if let Some(file) = &args.file {
        wanted.object = Some(objects.find(file).await?);
    }
    let length = args.entdtalen as usize;
    wanted.payload_bytes = if data == Data::None {
        0
    } else {
        length.max(IMAGE_BYTES)
    };
    let from_the_end =
        args.newest || (args.follow && args.froment.is_none() && wanted.from_time.is_none());
    let count = args.nbrent.unwrap_or(if args.follow {
        COUNT_FOLLOWING
    } else {
        COUNT_DEFAULT
    }) as usize;
    let columns = Columns::new(heads(unconfirmed));
    let follow = args.follow;
    let mut display = Display {
        context,
        client: &client,
        objects,
        wanted,
        data,
        length,
        columns,
        shown: 0,
        kept: Vec::new(),
        follow,
    };
    let last = display.last().await?;
    let range = if from_the_end {
        display.newest(count, last).await?
    } else {
        // Who follows wants everything from there on.
        display
            .oldest(if follow { usize::MAX } else { count })
            .await?
    };
    if follow {
        return display
            .follow(range.next.map_or(last, Sequence::before))
            .await;
    }
    display.finish(&range);
    Ok(ExitCode::SUCCESS)
}

fn wanted(args: &Args, unconfirmed: bool) -> Result<DisplayEntries, CliError> {
    let now = jiff::Timestamp::now();
    let time = |given: &Option<String>, keyword| {
        given
            .as_deref()
            .map(|given| when::parse(given, keyword, now, &TimeZone::system()))
            .transpose()
    };
    let codes: String = args
        .jrncde
        .iter()
        .map(|codes| text::special(codes))
        .collect();
    if let Some(code) = codes.chars().find(|code| !code.is_ascii_uppercase()) {
        return Err(CliError::invalid(format!(
            "JRNCDE {code}: a journal code is a letter, as in R or RC"
        )));
    }
    if args
        .froment
        .zip(args.toent)
        .is_some_and(|(from, to)| from > to)
    {
        return Err(CliError::invalid("TOENT is before FROMENT"));
    }
    Ok(DisplayEntries {
        journal: args.jrn,
        from: Sequence::new(args.froment.unwrap_or(1)),
        to: args.toent.map(Sequence::new),
        count: 0,
        newest: false,
        codes: if codes == "ALL" { String::new() } else { codes },
        object: None,
        cycle: args.cycle.map(Sequence::new),
        from_time: time(&args.fromtime, "FROMTIME")?,
        to_time: time(&args.totime, "TOTIME")?,
        unconfirmed,
        payload_bytes: 0,
    })
}

fn heads(unconfirmed: bool) -> Vec<&'static str> {
    let mut heads = vec![">Sequence", "Code", "Time", "Object", ">Count", ">CCID"];
    heads.extend(unconfirmed.then_some("Conf"));
    heads.extend(["Job", "User", "Data"]);
    heads
}

/// What was looked through.
struct Range {
    next: Option<Sequence>,
    oldest: Sequence,
    last: Sequence,
}

impl Display<'_> {
    /// The last entry that may be shown.
    async fn last(&self) -> Result<Sequence, CliError> {
        let described = self
            .client
            .run(DescribeJournals {
                journal: Some(self.wanted.journal),
            })
            .await?;
        let marks = described
            .journals
            .first()
            .map(|journal| journal.watermarks)
            .unwrap_or_default();
        Ok(if self.wanted.unconfirmed {
            marks.written
        } else {
            marks.settled
        })
    }

    /// How many entries one request may be made for.
    fn at_once(&self) -> usize {
        (REPLY_BYTES / (self.wanted.payload_bytes + 400)).clamp(1, REPLY_ENTRIES)
    }

    async fn ask(
        &self,
        from: Sequence,
        to: Option<Sequence>,
        count: usize,
        newest: bool,
    ) -> Result<Entries, CliError> {
        let count = count.min(self.at_once());
        Ok(self
            .client
            .run(DisplayEntries {
                from,
                to,
                count,
                newest,
                ..self.wanted.clone()
            })
            .await?)
    }

    /// Shows the first entries.
    async fn oldest(&mut self, count: usize) -> Result<Range, CliError> {
        let (mut from, mut left) = (self.wanted.from, count);
        loop {
            let found = self.ask(from, self.wanted.to, left, false).await?;
            left = left.saturating_sub(found.entries.len());
            self.show(&found.entries).await?;
            match found.next {
                Some(next) if left > 0 => from = next,
                next => {
                    return Ok(Range {
                        next,
                        oldest: found.oldest,
                        last: found.last,
                    });
                }
            }
        }
    }

    /// Shows the last entries: looks through ever longer stretches, backwards.
    async fn newest(&mut self, count: usize, last: Sequence) -> Result<Range, CliError> {
        let mut to = self.wanted.to.unwrap_or(last).min(last);
        let (mut stretch, mut pieces, mut left) = (STRETCH, Vec::new(), count);
        let mut range = Range {
            next: None,
            oldest: Sequence::FIRST,
            last,
        };
        while left > 0 && to >= self.wanted.from.max(range.oldest) {
            let from = Sequence::new(to.get().saturating_sub(stretch - 1))
                .max(self.wanted.from)
                .max(Sequence::FIRST);
            let asked = left.min(self.at_once());
            let found = self.ask(from, Some(to), asked, true).await?;
            range.oldest = found.oldest;
            left -= found.entries.len().min(left);
            let first = found
                .entries
                .first()
                .map(|entry| entry.sequence)
                .filter(|_| found.entries.len() == asked);
            to = first.unwrap_or(from).before();
            stretch = stretch.saturating_mul(8);
            pieces.push(found.entries);
        }
        for piece in pieces.iter().rev() {
            self.show(piece).await?;
        }
        Ok(range)
    }

    /// Shows what is confirmed or answered from now on.
    async fn follow(mut self, mut after: Sequence) -> Result<ExitCode, CliError> {
        let upto = self.wanted.to;
        let mut follower = Client::follow(
            &self.context.data,
            self.wanted.journal,
            Along::Journal,
            after,
            None,
        )
        .await?;
        while upto.is_none_or(|upto| after < upto) {
            let Followed::Bundle(bundle) = follower.next().await? else {
                continue;
            };
            let last = bundle.header().last();
            let last = upto.map_or(last, |upto| upto.min(last));
            while after < last {
                let found = self
                    .ask(after.next(), Some(last), usize::MAX, false)
                    .await?;
                after = found.next.map_or(last, Sequence::before);
                self.show(&found.entries).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn show(&mut self, entries: &[DisplayedEntry]) -> Result<(), CliError> {
        self.objects.learn_of(entries).await?;
        let output = self.context.output;
        match (output.is_json(), self.follow) {
            (true, true) => entries
                .iter()
                .for_each(|entry| output.result(&self.line(entry), |_| String::new())),
            (true, false) => {
                let values: Vec<_> = entries
                    .iter()
                    .filter_map(|entry| serde_json::to_value(self.line(entry)).ok())
                    .collect();
                self.kept.extend(values);
            }
            (false, _) => {
                let rows: Vec<Vec<String>> = entries
                    .iter()
                    .map(|entry| self.cells(&self.line(entry)))
                    .collect();
                if self.shown == 0 && !rows.is_empty() {
                    self.columns.fit(&rows);
                    output.line(&self.columns.head());
                }
                for row in &rows {
                    output.line(&self.columns.line(row));
                }
            }
        }
        self.shown += entries.len() as u64;
        Ok(())
    }

    fn line<'e>(&'e self, entry: &'e DisplayedEntry) -> Line<'e> {
        let [job, user, program, system] = &entry.actor;
        let facts = Facts {
            sequence: entry.sequence,
            time: entry.time,
            kind: entry.kind,
            object: entry.object,
            file: entry.object.and_then(|object| self.objects.file(object)),
            count: entry.count,
            cycle: entry.cycle,
            format: entry.format,
            indicator: entry.indicator,
            job: job.as_deref(),
            user: user.as_deref(),
            program: program.as_deref(),
            system: system.as_deref(),
            key: entry.key,
            confirmed: entry.confirmed,
            payload_length: entry.payload_length,
        };
        Line {
            facts,
            data: self.data_of(entry),
        }
    }

    fn data_of(&self, entry: &DisplayedEntry) -> Option<String> {
        let bytes = entry
            .payload
            .get(..self.length.min(entry.payload.len()))
            .unwrap_or_default();
        let cut = (bytes.len() as u64) < entry.payload_length;
        let left_out = || {
            format!(
                "({}, left out)",
                text::counted(entry.payload_length, "byte", "bytes")
            )
        };
        match self.data {
            Data::None => None,
            _ if entry.payload.is_empty() && entry.payload_length > 0 => Some(left_out()),
            Data::Hex => Some(text::hex(bytes) + if cut { "..." } else { "" }),
            Data::Text => {
                let journaling = || self.objects.journaling(entry);
                let values = || {
                    self.objects
                        .row(entry)
                        .map(|row| text::cut(&row, self.length))
                };
                let raw = || {
                    // A character that was cut in the middle does not make hex of a text.
                    let whole = if cut { trim_to_text(bytes) } else { bytes };
                    text::bytes_or_hex(whole) + if cut { "..." } else { "" }
                };
                Some(
                    entry
                        .meaning
                        .clone()
                        .or_else(journaling)
                        .or_else(values)
                        .unwrap_or_else(raw),
                )
            }
        }
    }

    fn cells(&self, line: &Line<'_>) -> Vec<String> {
        let facts = &line.facts;
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let number = |number: u64| {
            if number == 0 {
                "-".to_owned()
            } else {
                number.to_string()
            }
        };
        let unnamed = || facts.object.map(|object| text::cut(&object.to_string(), 8));
        let mut cells = vec![
            facts.sequence.to_string(),
            facts.kind.to_string(),
            text::time(facts.time),
            dash(facts.file.map(ToString::to_string).or_else(unnamed)),
            number(facts.count),
            number(facts.cycle.get()),
        ];
        cells.extend(
            self.wanted
                .unconfirmed
                .then(|| text::yes_no(facts.confirmed).to_owned()),
        );
        cells.extend([
            dash(facts.job.map(str::to_owned)),
            dash(facts.user.map(str::to_owned)),
            line.data.clone().unwrap_or_default(),
        ]);
        cells
    }

    fn finish(self, range: &Range) {
        let output = self.context.output;
        if output.is_json() {
            let value = serde_json::json!({
                "entries": self.kept, "next": range.next, "oldest": range.oldest, "last": range.last
            });
            output.result(&value, |_| String::new());
        } else if self.shown == 0 {
            let (oldest, last) = (
                text::count(range.oldest.get()),
                text::count(range.last.get()),
            );
            output.line(&if range.last < range.oldest {
                "No such entries: the journal holds none that may be shown.".to_owned()
            } else {
                format!("No such entries: the journal holds {oldest} to {last}.")
            });
        } else if let Some(next) = range.next {
            output.remark(&format!("More from entry {next} on: --from {next}"));
        }
    }
}

/// Cuts a character off that is not whole.
fn trim_to_text(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => {
            bytes.get(..error.valid_up_to()).unwrap_or_default()
        }
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_in_the_middle_is_left_out() {
        let text = "aß".as_bytes();
        assert_eq!(trim_to_text(&text[..2]), b"a");
        assert_eq!(trim_to_text(text), text);
        assert_eq!(trim_to_text(&[0xff, b'a']), [0xff, b'a']);
    }
}
