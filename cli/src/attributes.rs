//! Package `cli`: the attributes of a journal as keywords, the same for CRTJRN and CHGJRN. Must not know journals.

use rjournal::daemon::command::journal::AttributePatch;
use rjournal::entry::Alignment;
use rjournal::entry::control_entry::Policy;
use rjournal::journal::ManageReceivers;

use crate::error::CliError;
use crate::text::special;

/// Attributes of a journal; what is left out stays as it is.
#[derive(Debug, Default, PartialEq, clap::Args)]
pub(crate) struct AttributeArgs {
    /// Size in KB at which the receiver is changed
    #[arg(long, value_name = "KB")]
    threshold: Option<u64>,

    /// Who changes receivers at the threshold: *SYSTEM or *USER
    #[arg(long, value_name = "WHO")]
    mngrcv: Option<String>,

    /// Delete detached receivers that nobody needs: *YES or *NO
    #[arg(long, value_name = "YES|NO")]
    dltrcv: Option<String>,

    /// What happens to deposits when a *SYNC target does not answer: *DEGRADE, *BLOCK or *REJECT
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,

    /// How long a *SYNC target may take: 0.1 to 3600 seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    synctimo: Option<f64>,

    /// Ship only what is flushed here, rather than while the flush is under way: *YES or *NO
    #[arg(long, value_name = "YES|NO")]
    localfirst: Option<String>,

    /// How bundles are laid into the next receivers: *PACKED or *PADDED (each begins a 4 KiB block)
    #[arg(long, value_name = "HOW")]
    tail: Option<String>,

    /// Which fixed-length data entries carry: *JOBUSRPGM or *NONE
    #[arg(long, value_name = "DATA")]
    fixlendta: Option<String>,

    /// Entries that may wait for a target under policy *BLOCK
    #[arg(long, value_name = "ENTRIES")]
    waitent: Option<u64>,

    /// Entries over which deposit keys are remembered
    #[arg(long, value_name = "ENTRIES")]
    keywin: Option<u64>,

    /// MiB of receivers above which who is furthest behind is given up; 0 for no limit
    #[arg(long, value_name = "MIB")]
    rtnmib: Option<u64>,

    /// Seconds the in-sync set is waited for at opening before a message says so
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    openwait: Option<f64>,

    /// Free text
    #[arg(long)]
    text: Option<String>,
}

impl AttributeArgs {
    /// The attributes that were given.
    pub(crate) fn patch(self) -> Result<AttributePatch, CliError> {
        Ok(AttributePatch {
            threshold_kb: self.threshold,
            manage_receivers: choose(
                self.mngrcv,
                "MNGRCV",
                &[
                    ("SYSTEM", ManageReceivers::System),
                    ("USER", ManageReceivers::User),
                ],
            )?,
            delete_receivers: yes_no(self.dltrcv, "DLTRCV")?,
            alignment: choose(
                self.tail,
                "TAIL",
                &[("PACKED", Alignment::Packed), ("PADDED", Alignment::Padded)],
            )?,
            local_first: yes_no(self.localfirst, "LOCALFIRST")?,
            actor: choose(
                self.fixlendta,
                "FIXLENDTA",
                &[("JOBUSRPGM", true), ("NONE", false)],
            )?,
            policy: choose(
                self.policy,
                "POLICY",
                &[
                    ("DEGRADE", Policy::Degrade),
                    ("BLOCK", Policy::Block),
                    ("REJECT", Policy::Reject),
                ],
            )?,
            sync_timeout_ms: sync_timeout(self.synctimo)?,
            waiting_entries_max: self.waitent,
            key_window: self.keywin,
            retention_mib: self.rtnmib,
            open_wait_ms: seconds(self.openwait, "OPENWAIT")?,
            text: self.text,
        })
    }
}

fn sync_timeout(given: Option<f64>) -> Result<Option<u64>, CliError> {
    match given.filter(|seconds| !(0.1..=3600.0).contains(seconds)) {
        Some(wrong) => Err(CliError::invalid(format!(
            "SYNCTIMO {wrong}: 0.1 to 3600 seconds are allowed"
        ))),
        None => seconds(given, "SYNCTIMO"),
    }
}

/// One of several special values, star or not, either case.
pub(crate) fn choose<T: Copy>(
    given: Option<String>,
    keyword: &str,
    values: &[(&str, T)],
) -> Result<Option<T>, CliError> {
    let Some(given) = given else { return Ok(None) };
    let wanted = special(&given);
    let found = values
        .iter()
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| *value);
    found.map(Some).ok_or_else(|| {
        let names: Vec<String> = values.iter().map(|(name, _)| format!("*{name}")).collect();
        CliError::invalid(format!(
            "{keyword} {given}: one of {} is needed",
            names.join(", ")
        ))
    })
}

/// *YES or *NO.
pub(crate) fn yes_no(given: Option<String>, keyword: &str) -> Result<Option<bool>, CliError> {
    choose(given, keyword, &[("YES", true), ("NO", false)])
}

/// Seconds with fractions, as milliseconds.
pub(crate) fn seconds(given: Option<f64>, keyword: &str) -> Result<Option<u64>, CliError> {
    match given {
        None => Ok(None),
        Some(seconds) if (0.0..=86_400_000.0).contains(&seconds) => {
            let duration = std::time::Duration::from_secs_f64(seconds);
            Ok(Some(
                u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            ))
        }
        Some(seconds) => Err(CliError::invalid(format!(
            "{keyword} {seconds}: a number of seconds is needed"
        ))),
    }
}
