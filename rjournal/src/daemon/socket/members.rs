//! Room `daemon`, the control socket: a program's way to the primary of a recovery group: all members that can be asked on this
//! machine are asked who it is. Must not decide who is primary: the members say it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::Client;
use crate::daemon::clock::{SystemEntropy, random_number};
use crate::daemon::command::group::{PrimaryTold, WhoIsPrimary};
use crate::daemon::command::{CommandError, ErrorKind};
use crate::entry::Name;

/// A member may take so long to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Once a primary is known, the others are waited for this much longer: one of them may know of a later term.
const OTHERS_MAX: Duration = Duration::from_millis(200);

/// The first wait before the next try; each is twice as long as the one before.
const AGAIN_MIN: Duration = Duration::from_millis(5);
/// The longest.
const AGAIN_MAX: Duration = Duration::from_millis(250);

/// Members of a recovery group that can be asked on this machine.
#[derive(Debug, Clone)]
pub struct GroupMembers {
    places: Arc<[PathBuf]>,
    group: Option<Name>,
}

/// What a member said, on which connection.
type Said = Result<(Client, PrimaryTold), CommandError>;

/// A primary that takes deposits.
#[derive(Debug)]
pub struct FoundPrimary {
    /// Which of the places it is.
    pub place: usize,
    /// What it says of itself.
    pub told: PrimaryTold,
    /// The connection on which it said so.
    pub client: Client,
}

impl GroupMembers {
    /// Members by their data directories, or by control sockets: those of systems on other machines, led here. `group` may be
    /// left out where the members are in one group only.
    pub fn new(places: impl IntoIterator<Item = impl Into<PathBuf>>, group: Option<Name>) -> Self {
        let places = places.into_iter().map(Into::into).collect();
        Self { places, group }
    }

    /// The places, in the order given.
    pub fn places(&self) -> &[PathBuf] {
        &self.places
    }

    /// Asks all members at once, and gives the one that is primary in the highest term any of them knows and takes deposits: one
    /// of a lower term may still think so.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// RJN7117 when there is none among them: it may be one the next moment. What a member says where nothing else can come of
    /// asking again: there is no such group, there are several.
    pub async fn primary(&self) -> Result<FoundPrimary, CommandError> {
        if self.places.is_empty() {
            return Err(CommandError::invalid(
                "no member of the recovery group was named",
            ));
        }
        let mut asking = JoinSet::new();
        for (place, path) in self.places.iter().cloned().enumerate() {
            let group = self.group;
            asking.spawn(async move { (place, ask(&path, group).await) });
        }
        let mut heard: Vec<(usize, Said)> = Vec::new();
        let mut until = Instant::now() + ANSWER_MAX;
        while let Ok(Some(answer)) = tokio::time::timeout_at(until, asking.join_next()).await {
            let Ok((place, said)) = answer else { continue };
            if said.as_ref().is_ok_and(|(_, told)| takes_deposits(told)) {
                until = until.min(Instant::now() + OTHERS_MAX);
            }
            heard.push((place, said));
        }
        let told = heard.iter().filter_map(|(place, said)| {
            let (_, told) = said.as_ref().ok()?;
            Some((*place, told))
        });
        let Some(primary) = pick(told) else {
            return Err(self.none(heard));
        };
        let found = heard.into_iter().find(|(place, _)| *place == primary);
        match found {
            Some((place, Ok((client, told)))) => Ok(FoundPrimary {
                place,
                told,
                client,
            }),
            _ => Err(self.none(Vec::new())),
        }
    }

    fn none(&self, heard: Vec<(usize, Said)>) -> CommandError {
        let all = heard.len() == self.places.len();
        let mut said = Vec::new();
        let mut last = None;
        let mut hopeless = all && !heard.is_empty();
        for (place, answer) in heard {
            let place = self
                .places
                .get(place)
                .map_or_else(String::new, |place| place.display().to_string());
            match answer {
                Ok((_, told)) => {
                    hopeless = false;
                    said.push(format!("{place}: {}", words(&told)));
                }
                Err(error) => {
                    hopeless &= !error.is_transient();
                    said.push(format!("{place}: {}", error.text));
                    last = Some(error);
                }
            }
        }
        if let Some(error) = last.filter(|_| hopeless) {
            return error;
        }
        let silent = if all { "" } else { "; others did not answer" };
        let text = format!(
            "no member that can be asked here is the primary and takes deposits ({}{silent})",
            said.join("; ")
        );
        CommandError::new(ErrorKind::Unreachable, "RJN7117", text).help(
            "WHOISPRIMARY says on each member who it is; name the control sockets of all of them",
        )
    }
}

async fn ask(place: &Path, group: Option<Name>) -> Said {
    let client = if place.is_dir() {
        Client::connect(place).await?
    } else {
        Client::connect_at(place).await?
    };
    let told = client.run(WhoIsPrimary { group }).await?;
    Ok((client, told))
}

const fn takes_deposits(told: &PrimaryTold) -> bool {
    told.here && told.open
}

/// The member to go to. Where somebody knows of a higher term than the one that takes deposits, that one is about to be fenced:
/// what it answered could be taken away again.
fn pick<'a>(told: impl Iterator<Item = (usize, &'a PrimaryTold)> + Clone) -> Option<usize> {
    let newest = told.clone().map(|(_, told)| told.term).max()?;
    let mut open = told.filter(|(_, told)| takes_deposits(told) && told.term == newest);
    open.next().map(|(place, _)| place)
}

fn words(told: &PrimaryTold) -> String {
    match &told.primary {
        None => format!("term {} is claimed and not opened", told.term),
        Some(_) if told.here => format!("primary in term {}, closed for deposits", told.term),
        Some(primary) => {
            let at = told.address.as_deref().unwrap_or("no address");
            format!("{primary} ({at}) is primary in term {}", told.term)
        }
    }
}

/// Waits between tries, longer each time, and never all programs for the same time.
#[derive(Debug)]
pub struct BackOff(Duration);

impl Default for BackOff {
    fn default() -> Self {
        Self(AGAIN_MIN)
    }
}

impl BackOff {
    /// Waits, at most until then. Says whether there is time left.
    ///
    /// Cancel safe: yes.
    pub async fn pause(&mut self, until: Instant) -> bool {
        let half = self.0 / 2;
        let share = (random_number(&SystemEntropy) % 1024) as u32;
        let wait = half + half * share / 1024;
        self.0 = (self.0 * 2).min(AGAIN_MAX);
        let again = Instant::now() + wait;
        tokio::time::sleep_until(again.min(until)).await;
        again < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Timestamp;
    use crate::remote::MemberRole;

    fn told(term: u64, here: bool, open: bool) -> PrimaryTold {
        PrimaryTold {
            group: "ORDERS".parse().unwrap(),
            term,
            primary: Some("PRD".parse().unwrap()),
            address: None,
            here,
            open,
            role: MemberRole::Backup,
            journal: "PRDLIB/JRN".parse().unwrap(),
            heard_at: Timestamp::ZERO,
        }
    }

    fn picked(told: &[PrimaryTold]) -> Option<usize> {
        pick(told.iter().enumerate())
    }

    #[test]
    fn whoever_is_primary_in_the_highest_term_and_takes_deposits_is_gone_to() {
        assert_eq!(picked(&[]), None);
        let (old, new) = (told(1, true, true), told(2, true, true));
        assert_eq!(picked(&[old.clone(), new.clone()]), Some(1));
        assert_eq!(picked(&[new, old.clone()]), Some(0));
        assert_eq!(picked(&[told(1, false, true), old.clone()]), Some(1));
        // Another one has claimed a term: nobody is gone to until it is open.
        assert_eq!(picked(&[old, told(2, false, false)]), None);
        assert_eq!(picked(&[told(3, true, false)]), None);
    }

    #[tokio::test]
    async fn where_nobody_answers_it_is_said_who_was_asked() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("none.sock");
        let members = GroupMembers::new([dir.path(), &socket], None);
        let error = members.primary().await.unwrap_err();
        assert_eq!(error.id, "RJN7117", "{error}");
        assert!(error.is_transient());
        assert!(error.text.contains("none.sock: no daemon"), "{error}");
        // An empty directory is no system, and never will be one by itself.
        for places in [vec![dir.path()], Vec::new()] {
            let members = GroupMembers::new(places, None);
            let error = members.primary().await.unwrap_err();
            assert!(!error.is_transient(), "{error}");
        }
    }
}
