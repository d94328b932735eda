//! Room `daemon`, a system: its journals are recovered from the medium, each on a blocking thread, before any partner is
//! talked to. Must not repair anything itself: rooms `journal` and `receiver` do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::runtime::{Broken, JournalRuntime};
use super::shared::Shared;
use crate::daemon::crank::OpeningCrank;
use crate::daemon::data_dir::JOURNALS_DIR;
use crate::daemon::messages::Severity;
use crate::daemon::task::copy::CopyRuntime;
use crate::entry::QualifiedName;
use crate::error::{JournalError, SystemError};
use crate::journal::{Control, Copy, JournalKind, Recovered};
use crate::receiver::Leftover;
use crate::remote::MemberRole;

impl Shared {
    /// Recovers all journals, each on a blocking thread.
    pub(super) async fn open_journals(self: &Arc<Self>) -> Result<(), SystemError> {
        let dirs = self
            .disk
            .list(Path::new(JOURNALS_DIR))
            .map_err(|source| SystemError::io("could not be listed", JOURNALS_DIR, source))?;
        let mut opening = Vec::new();
        for dir in dirs {
            let path = Path::new(JOURNALS_DIR).join(&dir);
            if dir.ends_with(".deleted") {
                self.disk
                    .remove_dir_all(&path)
                    .map_err(|source| SystemError::io("could not be removed", &path, source))?;
                self.post_about(
                    "RJN2005",
                    Severity::Info,
                    "system",
                    format!("finished deleting {}", path.display()),
                );
                continue;
            }
            let shared = Arc::clone(self);
            opening.push(tokio::task::spawn_blocking(move || shared.recover(&path)));
        }
        for task in opening {
            let recovered = task.await.map_err(|error| {
                SystemError::io(
                    "could not be recovered",
                    JOURNALS_DIR,
                    std::io::Error::other(error),
                )
            })?;
            if let Some(found) = recovered {
                self.take_up(found).await;
            }
        }
        Ok(())
    }

    /// Goes on with a journal as it was found.
    async fn take_up(self: &Arc<Self>, found: Found) {
        let Found {
            name,
            dir,
            control,
            outcome,
        } = found;
        let runtime = match outcome {
            Ok(Opened::Local(crank)) => self.begin_opening(*crank).await,
            Ok(Opened::Copy(copy)) => Some(JournalRuntime::Copy(CopyRuntime::start(self, *copy))),
            Err(error) => Some(self.broken(name, control, error.to_string(), dir)),
        };
        if let Some(runtime) = runtime {
            self.insert(name, runtime);
        }
    }

    /// Recovers one journal again, as at the start: it was repaired.
    pub(super) async fn reopen(self: &Arc<Self>, name: QualifiedName, broken: &Broken) {
        self.recover_again(name, broken.dir.clone()).await;
    }

    /// Recovers one journal again, as at the start.
    pub(in crate::daemon) async fn recover_again(
        self: &Arc<Self>,
        name: QualifiedName,
        path: PathBuf,
    ) {
        let (shared, dir) = (Arc::clone(self), path);
        match tokio::task::spawn_blocking(move || shared.recover(&dir)).await {
            Ok(Some(found)) => self.take_up(found).await,
            Ok(None) => {}
            Err(error) => tracing::error!(journal = %name, %error, "cannot be opened again"),
        }
        let copy = self.runtime_of(name);
        if let Some(runtime @ JournalRuntime::Copy(_)) = &copy {
            self.start_links_of(runtime);
        }
    }

    /// Recovers the journal in one directory; nothing when there never was one.
    fn recover(&self, dir: &Path) -> Option<Found> {
        let control = crate::journal::ControlFile::open(Arc::clone(&self.disk), dir);
        let (control, stale) = match control {
            Ok((control, stale)) => (control.get().clone(), stale),
            Err(error) => return self.recover_nothing(dir, error),
        };
        if let Some(why) = stale {
            let text = format!(
                "a copy of its control file cannot be read ({why}); the other one is used, which may be the one before, and \
                 the receivers"
            );
            self.post("RJN1004", Severity::Alarm, control.name, text);
        }
        let disk = Arc::clone(&self.disk);
        let lost = control
            .group
            .filter(|group| self.groups.find(*group).is_none());
        if let Some(group) = lost {
            return Some(Found {
                name: control.name,
                dir: dir.to_path_buf(),
                control: Some(Box::new(control)),
                outcome: Err(JournalError::GroupLost { group }),
            });
        }
        let opened = match control.kind {
            JournalKind::Local => Recovered::open(disk, dir, self.owner()).and_then(|recovered| {
                self.report_leftovers(control.name, recovered.leftovers());
                self.as_member(dir, recovered)
            }),
            JournalKind::Remote(_) => {
                Copy::open(disk, dir, self.proven(control.name, Some(control.journal))).map(
                    |copy| {
                        self.report_leftovers(control.name, copy.leftovers());
                        Opened::Copy(Box::new(copy))
                    },
                )
            }
        };
        Some(Found {
            name: control.name,
            dir: dir.to_path_buf(),
            control: Some(Box::new(control)),
            outcome: opened,
        })
    }

    /// A local journal of a recovery group opens only while this system is primary, and then in contact with another member; else
    /// it rests.
    fn as_member(&self, dir: &Path, recovered: Recovered) -> Result<Opened, JournalError> {
        let journal = recovered.control().journal;
        let Some(group) = self.groups.of_journal(journal) else {
            return Ok(Opened::Local(Box::new(OpeningCrank::new(recovered))));
        };
        self.catch_up_standing(&group, &recovered);
        let standing = group.standing();
        if standing.role(self.id) == MemberRole::Primary {
            let crank = OpeningCrank::new(recovered).in_group();
            return Ok(Opened::Local(Box::new(crank)));
        }
        drop(recovered);
        let copy = self.open_resting(dir, &standing, &journal)?;
        Ok(Opened::Copy(Box::new(copy)))
    }

    /// A directory without a control file is what an interrupted CRTJRN or ADDRMTJRN left behind.
    fn recover_nothing(&self, dir: &Path, error: JournalError) -> Option<Found> {
        let receivers = self.disk.list(&dir.join("receivers")).unwrap_or_default();
        let missing = self
            .disk
            .list(dir)
            .unwrap_or_default()
            .iter()
            .all(|name| !name.starts_with("control"));
        if missing && receivers.is_empty() {
            let removed = self.disk.remove_dir_all(dir);
            let outcome = removed.map_or_else(
                |error| format!("; it cannot be removed: {error}"),
                |()| " and was removed".to_owned(),
            );
            self.post_about(
                "RJN2005",
                Severity::Info,
                "system",
                format!("{} was never finished{outcome}", dir.display()),
            );
            return None;
        }
        // It has no name any more; its directory's stands for it.
        let stand_in: String = dir
            .file_name()
            .map(|name| name.to_string_lossy().chars().take(9).collect())
            .unwrap_or_default();
        let name = format!("DAMAGED/J{stand_in}").parse().ok()?;
        Some(Found {
            name,
            dir: dir.to_path_buf(),
            control: None,
            outcome: Err(error),
        })
    }

    fn report_leftovers(&self, journal: QualifiedName, leftovers: &[Leftover]) {
        for leftover in leftovers {
            let text = match leftover {
                Leftover::File { path } => {
                    format!("{} was never used and was removed", path.display())
                }
                Leftover::TornTail {
                    offset,
                    bytes,
                    aside,
                    ..
                } => format!(
                    "a torn tail of {bytes} bytes at byte {offset} was set aside in {}: it was never answered",
                    aside.display()
                ),
            };
            self.post("RJN2005", Severity::Info, journal, text);
        }
    }
}

/// What was found in a journal's directory.
struct Found {
    name: QualifiedName,
    dir: PathBuf,
    /// What is kept about it, where that could be read.
    control: Option<Box<Control>>,
    outcome: Result<Opened, JournalError>,
}

enum Opened {
    Local(Box<OpeningCrank>),
    Copy(Box<Copy>),
}
