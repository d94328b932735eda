//! Package `cli`: a store is loaded from the save of a partner: the daemon fetches it, the store is restored from it here, and
//! its job goes on. For RSTSTO and STRAPY. Must not know how pieces are proven.

use std::path::PathBuf;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::command::apply::{EndApply, ListJobs, StartApply};
use rjournal::daemon::command::load::{DescribeLoad, LoadStore};
use rjournal::daemon::{CommandError, ErrorKind, FetchedSave, LoadPhase, LoadStanding};
use rjournal::entry::{Name, QualifiedName, RdbName};
use rjournal_apply::job::{RestoreOrder, RestoredStore, restore_store};
use rjournal_apply::store::{StoreError, StoreKind};

use crate::commands::Context;
use crate::error::CliError;
use crate::output::{Meter, Output, Progress, Unit};
use crate::text;

/// How often the daemon is asked how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// A store to be loaded.
#[derive(Debug)]
pub(crate) struct LoadOrder {
    /// Its name.
    pub(crate) store: Name,
    /// The partner.
    pub(crate) rdb: RdbName,
    /// The journal, where there is no such store yet.
    pub(crate) journal: Option<QualifiedName>,
    /// Its kind, where there is no such store yet.
    pub(crate) kind: Option<String>,
    /// Whether a store with rows in it is set aside.
    pub(crate) replace: bool,
    /// Whether its job is to run afterwards, in any case.
    pub(crate) start: bool,
}

/// A store that was loaded.
#[derive(Debug)]
pub(crate) struct LoadedStore {
    /// What is in it.
    pub(crate) restored: RestoredStore,
    /// Bytes of the save that were fetched at an earlier time.
    pub(crate) kept: u64,
    /// Whether its job was started.
    pub(crate) started: bool,
}

/// Loads a store: the save is fetched, the job ended, the store restored, and the job started again where it ran.
pub(crate) async fn load(order: LoadOrder, context: &Context<'_>) -> Result<LoadedStore, CliError> {
    let (store, replace) = (order.store, order.replace);
    let client = context.client().await?;
    require_place(&client, store, replace).await?;
    let request = LoadStore {
        store,
        rdb: order.rdb,
        journal: order.journal,
        kind: order.kind,
        start: order.start,
    };
    client.run(request).await?;
    let fetched = fetch(&client, &order.rdb, store, *context.output).await?;
    let end = EndApply {
        store,
        remove: false,
    };
    client.run(end).await?;
    let restored = restore(store, &fetched, replace, context).await?;
    if fetched.start {
        let start = StartApply {
            store,
            journal: None,
            kind: None,
            skip: None,
        };
        client.run(start).await?;
    }
    Ok(LoadedStore {
        restored,
        kept: fetched.kept,
        started: fetched.start,
    })
}

/// Nobody fetches for hours to be told then that there is no place for it.
async fn require_place(client: &Client, store: Name, replace: bool) -> Result<(), CliError> {
    let jobs = client.run(ListJobs {}).await?.jobs;
    let known = jobs.iter().find(|job| job.store == store);
    match known.filter(|job| job.applied.get() > 0 && !replace) {
        Some(job) => {
            let found = format!("entry {}", job.applied);
            Err(StoreError::NotEmpty { found }.into())
        }
        None => Ok(()),
    }
}

/// Waits until the daemon has the save.
async fn fetch(
    client: &Client,
    rdb: &RdbName,
    store: Name,
    output: Output,
) -> Result<FetchedSave, CliError> {
    let mut shown = Shown::Nothing;
    let mut looks = tokio::time::interval(LOOK_AGAIN);
    let go_on = || format!("what was fetched is kept: RSTSTO --store {store} --rdb {rdb} goes on");
    loop {
        looks.tick().await;
        let asked = client.run(DescribeLoad { store }).await;
        let load = asked.map_err(|error| match error.kind {
            ErrorKind::Unreachable => error.help(go_on()),
            _ => error,
        })?;
        let Some(load) = load.load else {
            let text = "the daemon was started anew meanwhile";
            let error = CommandError::new(ErrorKind::Unreachable, "RJN1006", text);
            return Err(CliError(error.help(go_on())));
        };
        match (load.fetched, load.failed) {
            (Some(fetched), _) => return Ok(fetched),
            (None, Some(error)) => return Err(CliError(error)),
            (None, None) => shown.show(
                &LoadStanding {
                    fetched: None,
                    failed: None,
                    ..*load
                },
                output,
            ),
        }
    }
}

/// What a person sees meanwhile.
enum Shown {
    Nothing,
    Waiting(Progress),
    Counting(Meter),
}

impl Shown {
    fn show(&mut self, load: &LoadStanding, output: Output) {
        let what = match load.phase {
            LoadPhase::Checking => "checking what was fetched before",
            LoadPhase::Fetching => "fetching",
            _ => "asking",
        };
        let text = load.note.as_deref().unwrap_or(what);
        match load.phase {
            LoadPhase::Checking | LoadPhase::Fetching => {
                if !matches!(self, Self::Counting(_)) {
                    *self = Self::Counting(output.meter(Unit::Bytes));
                }
            }
            _ => {
                if !matches!(self, Self::Waiting(_)) {
                    *self = Self::Waiting(output.progress());
                }
            }
        }
        match self {
            Self::Counting(meter) => {
                meter.name(&format!("{text} {}", percent(load)));
                meter.show(load.done, load.total);
            }
            Self::Waiting(progress) if load.phase == LoadPhase::Asking && load.total > 0 => {
                progress.show(&format!(
                    "{text}: {} of {}",
                    text::bytes(load.done),
                    text::bytes(load.total)
                ));
            }
            Self::Waiting(progress) => progress.show(text),
            Self::Nothing => {}
        }
    }
}

fn percent(load: &LoadStanding) -> String {
    let percent = (u128::from(load.done) * 100).checked_div(u128::from(load.total));
    format!("{} %", percent.unwrap_or_default())
}

async fn restore(
    store: Name,
    fetched: &FetchedSave,
    replace: bool,
    context: &Context<'_>,
) -> Result<RestoredStore, CliError> {
    let kind: StoreKind = fetched
        .kind
        .parse()
        .map_err(|error| CliError::invalid(format!("TYPE: {error}")))?;
    let meter = context.output.meter(Unit::Bytes);
    meter.name("restoring");
    let (data, path): (PathBuf, PathBuf) = (context.data.clone(), context.data.join(&fetched.file));
    let promised = fetched.save;
    let work = move || {
        let order = RestoreOrder {
            data: &data,
            store,
            kind,
            journals: &[],
            save: &path,
            promised: Some(promised),
            replace,
        };
        restore_store(&order, &mut |progress| {
            meter.show(progress.bytes, promised.bytes);
        })
    };
    let restored = tokio::task::spawn_blocking(work).await;
    Ok(restored.map_err(|error| CliError::internal(&error))??)
}
