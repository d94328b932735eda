//! Command RSTSTO.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rjournal::Client;
use rjournal::daemon::command::apply::ListJobs;
use rjournal::daemon::command::journal::DescribeJournals;
use rjournal::daemon::{CommandError, ErrorKind};
use rjournal::entry::{JournalId, Name, QualifiedName, RdbName};
use rjournal_apply::job::{RestoreOrder, RestoredStore, restore_store};
use rjournal_apply::store::{Progress, StoreKind, check};

use super::Context;
use crate::attributes::choose;
use crate::error::CliError;
use crate::load::{LoadOrder, LoadedStore, load};
use crate::output::{Form, Unit};
use crate::text;

/// Restore a store from a save, here or fetched from a partner, or only check a save
///
/// The save is checked to its end before the first row is put, and is of the journal the store is made from. The job applies what came after it when it is started.
///
/// With PATH the store's job must be ended. With RDB the partner sends a save of its own store of the same journal while
/// changes flow; the job is ended when it is here, and started again where it ran. What was fetched is kept over a broken line or a
/// restart: give the command again.
///
/// Example: rjournal rststo --store REPLICA --path /backup/replica.save
///
/// Example: rjournal rststo --store REPLICA --rdb PRD --replace
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store
    #[arg(long, required_unless_present = "check")]
    store: Option<Name>,

    /// The save
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "rdb",
        conflicts_with = "rdb"
    )]
    path: Option<PathBuf>,

    /// The partner whose store of the same journal is saved and sent
    #[arg(long)]
    rdb: Option<RdbName>,

    /// With RDB: the journal here, of a store that STRAPY has not made yet
    #[arg(long, value_name = "LIB/NAME", requires = "rdb")]
    jrn: Option<QualifiedName>,

    /// Only check the save and say what is in it
    #[arg(long, conflicts_with = "rdb")]
    check: bool,

    /// Set a store with rows in it aside, under another name, and make it anew
    #[arg(long, conflicts_with = "check")]
    replace: bool,

    /// Kind of a store that STRAPY has not made yet: *SLED or *REDB
    #[arg(long = "type", value_name = "*SLED|*REDB")]
    kind: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let path = match (args.path, args.rdb, args.store) {
        (None, Some(rdb), Some(store)) => {
            let kind = choose(args.kind, "TYPE", &[("SLED", "sled"), ("REDB", "redb")])?;
            let order = LoadOrder {
                store,
                rdb,
                journal: args.jrn,
                kind: kind.map(str::to_owned),
                replace: args.replace,
                start: false,
            };
            let loaded = load(order, context).await?;
            tell(&loaded.restored, Some(store), Some((rdb, &loaded)), context);
            return Ok(ExitCode::SUCCESS);
        }
        (path, ..) => path.unwrap_or_default(),
    };
    let store = args.store.filter(|_| !args.check);
    require_file(&path)?;
    let (kind, journals) = match store {
        Some(store) => known_of(store, args.kind.as_deref(), context).await?,
        None => (StoreKind::default(), Vec::new()),
    };
    if store.is_some() && !context.data.is_dir() {
        let help = "DATA names the data directory of a system; INIT makes one";
        let missing = CommandError::not_found("data directory", context.data.display());
        return Err(CliError(missing.help(help)));
    }
    let meter = context.output.meter(Unit::Bytes);
    let data = context.data.clone();
    let work = move || {
        let size = std::fs::metadata(&path).map_or(0, |found| found.len());
        let mut show = |progress: Progress| meter.show(progress.bytes, size);
        let restored = match store {
            None => RestoredStore {
                save: check(&path, &mut show)?,
                set_aside: None,
            },
            Some(store) => {
                let order = RestoreOrder {
                    data: &data,
                    store,
                    kind,
                    journals: &journals,
                    save: &path,
                    promised: None,
                    replace: args.replace,
                };
                restore_store(&order, &mut show)?
            }
        };
        Ok::<_, CliError>(restored)
    };
    let restored = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| CliError::internal(&error))??;
    tell(&restored, store, None, context);
    Ok(ExitCode::SUCCESS)
}

/// What is no file at all is told apart from a save that is damaged.
fn require_file(path: &Path) -> Result<(), CliError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let why = "it is a directory";
            Err(CliError::wrong_path(ErrorKind::Invalid, "PATH", path, &why))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(CliError::unreadable_path("PATH", path, &error)),
    }
}

/// The kind of a store, and the journals its entries may be in where the daemon knows them.
async fn known_of(
    store: Name,
    given: Option<&str>,
    context: &Context<'_>,
) -> Result<(StoreKind, Vec<JournalId>), CliError> {
    let known = match context.client().await {
        Ok(client) => {
            let jobs = client.run(ListJobs {}).await?.jobs;
            match jobs.into_iter().find(|job| job.store == store) {
                Some(job) => {
                    let mut journals = Vec::new();
                    for journal in &job.journals {
                        journals.extend(id_of(&client, *journal).await);
                    }
                    Some((job.kind, journals))
                }
                None => None,
            }
        }
        // Without its daemon no job runs; the lock of the store proves it.
        Err(error) if error.0.kind == ErrorKind::Unreachable && given.is_some() => None,
        Err(error) => return Err(error),
    };
    let name = match (&known, given) {
        (Some((kind, _)), None) => kind.clone(),
        (None, None) => return Ok((StoreKind::default(), Vec::new())),
        (_, Some(given)) => text::special(given).to_ascii_lowercase(),
    };
    let kind: StoreKind = name
        .parse()
        .map_err(|error| CliError::invalid(format!("TYPE: {error}")))?;
    match known {
        Some((known, _)) if known != kind.to_string() => Err(CliError::invalid(format!(
            "TYPE: store {store} is a *{}",
            known.to_ascii_uppercase()
        ))),
        Some((_, journals)) => Ok((kind, journals)),
        None => Ok((kind, Vec::new())),
    }
}

/// The identity of a journal; nothing where it is gone, or damaged.
async fn id_of(client: &Client, journal: QualifiedName) -> Option<JournalId> {
    let request = DescribeJournals {
        journal: Some(journal),
    };
    let described = client.run(request).await.ok()?;
    described.journals.first()?.journal_id
}

fn tell(
    restored: &RestoredStore,
    store: Option<Name>,
    from: Option<(RdbName, &LoadedStore)>,
    context: &Context<'_>,
) {
    let (info, aside) = (&restored.save, &restored.set_aside);
    let rows: u64 = info.files.iter().map(|file| file.rows).sum();
    let mut value = serde_json::json!({
        "store": store,
        "created": info.created,
        "applied": info.position.applied,
        "files": info.files.iter().map(|file| serde_json::json!({
            "file": file.format.file(),
            "rows": file.rows,
        })).collect::<Vec<_>>(),
        "rows": rows,
        "bytes": info.bytes,
        "set_aside": aside,
    });
    if let Some((rdb, loaded)) = from {
        value["rdb"] = serde_json::json!(rdb);
        value["kept"] = serde_json::json!(loaded.kept);
        value["started"] = serde_json::json!(loaded.started);
    }
    context.output.result(&value, |_| {
        let mut form = Form::new();
        form.head(&match (store, from) {
            (None, _) => "The save is whole.".to_owned(),
            (Some(store), None) => format!("Store {store} restored; STRAPY starts its job."),
            (Some(store), Some((rdb, loaded))) if loaded.started => {
                format!("Store {store} loaded from {rdb}; its job goes on from there.")
            }
            (Some(store), Some((rdb, _))) => {
                format!("Store {store} loaded from {rdb}; STRAPY starts its job.")
            }
        });
        form.line("Made", text::time(info.created))
            .line(
                "Everything up to entry",
                text::count(info.position.applied.get()),
            )
            .line("Files", text::count(info.files.len() as u64))
            .line("Rows", text::count(rows))
            .line("Size", text::bytes(info.bytes));
        if let Some(kept) = from.map(|(_, loaded)| loaded.kept).filter(|kept| *kept > 0) {
            form.line("Fetched before", text::bytes(kept));
        }
        if let Some(aside) = aside {
            form.line("Set aside as", aside.display());
        }
        form.text()
    });
}
