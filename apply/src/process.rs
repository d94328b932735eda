//! Room `process`: the job as a process of its own, started by the daemon: it opens the store, applies its journal, serves it
//! over a socket, and ends when its standard input does. Must not know how entries are applied.

use std::path::PathBuf;
use std::time::Duration;

use rjournal::daemon::command::apply::{JobDescription, JobMessage};
use rjournal::daemon::{EXIT_STOPPED, ErrorKind, Severity};
use rjournal::entry::{JournalId, Name, Sequence, Timestamp};
use rjournal::{Client, CommandError};
use tokio::sync::oneshot;

use crate::database::{Database, DatabaseOptions};
use crate::error::ApplyError;
use crate::job::{ApplyJob, JobOptions, Port, Report, open_store, save_path, store_path};
use crate::machine::Skip;
use crate::serve::{StoreSocket, socket_path};
use crate::store::StoreKind;

/// How often a daemon that starts is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a daemon that starts is looked for.
const START_MAX: Duration = Duration::from_secs(30);

/// What a job process is told.
#[derive(Debug, Clone)]
pub struct JobArguments {
    /// The data directory.
    pub data: PathBuf,
    /// Name of the store.
    pub store: Name,
}

/// Runs a job until its standard input ends. Gives the exit code of its process: 0 when it ended as told,
/// [`EXIT_STOPPED`] when an operator must look, 1 when it is worth starting again.
///
/// Cancel safe: no.
pub async fn run_job(arguments: JobArguments) -> i32 {
    let store = arguments.store;
    match run(arguments).await {
        Ok(()) => 0,
        Err(error) if error.is_transient() => {
            tracing::warn!(%store, %error, "the apply job ends and is started again");
            1
        }
        Err(error) => {
            tracing::error!(%store, %error, "the apply job stops");
            EXIT_STOPPED
        }
    }
}

/// Comes back when the daemon closed the pipe, or is gone, or the process was told to end.
async fn told_to_end() {
    let (ended, input_ended) = oneshot::channel();
    // A thread of its own: reading cannot be given up, and must not keep the process alive.
    let read = move || {
        let _bytes = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _heard = ended.send(());
    };
    if std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(read)
        .is_err()
    {
        return;
    }
    // A terminal's interrupt goes to all its processes; the daemon ends this one in order.
    let interrupted = async { while tokio::signal::ctrl_c().await.is_ok() {} };
    tokio::select! {
        _ = input_ended => {}
        () = interrupted => {}
    }
}

async fn run(arguments: JobArguments) -> Result<(), ApplyError> {
    let mut end = std::pin::pin!(told_to_end());
    let started = tokio::select! {
        started = start(&arguments) => started?,
        () = &mut end => return Ok(()),
    };
    let Running {
        mut job,
        database,
        socket,
    } = started;
    let mut refused = Ok(());
    let ended = tokio::select! {
        ended = job.ended() => Some(ended),
        attached = attach(&database) => {
            refused = attached;
            None
        }
        () = &mut end => None,
    };
    drop(socket);
    match ended {
        Some(ended) => ended,
        None => job.stop().await.and(refused),
    }
}

/// Attaches the journal whenever one is open here for deposits, and comes back only when that is refused.
async fn attach(database: &Database) -> Result<(), ApplyError> {
    database.keep_attached().await?;
    std::future::pending().await
}

struct Running {
    job: ApplyJob,
    database: Database,
    socket: StoreSocket,
}

async fn start(arguments: &JobArguments) -> Result<Running, ApplyError> {
    let (client, record) = find_record(arguments).await?;
    let (data, store) = (arguments.data.clone(), arguments.store);
    let port = Port::Daemon {
        data: data.clone(),
        journal: record.journal,
        store,
        client,
    };
    match start_on(&port, &record, arguments).await {
        Err(error) => {
            if let Some(stopped) = error.stopped() {
                port.report(Report {
                    stopped: Some(stopped),
                    ..Report::default()
                })
                .await?;
            }
            Err(error)
        }
        started => started,
    }
}

/// The daemon starts jobs before it listens.
async fn find_record(arguments: &JobArguments) -> Result<(Client, JobDescription), CommandError> {
    let deadline = tokio::time::Instant::now() + START_MAX;
    let client = loop {
        match Client::connect(&arguments.data).await {
            Err(error)
                if error.kind == ErrorKind::Unreachable
                    && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            connected => break connected?,
        }
    };
    let jobs = client
        .run(rjournal::daemon::command::apply::ListJobs {})
        .await?;
    let record = jobs
        .jobs
        .into_iter()
        .find(|job| job.store == arguments.store);
    let record = record
        .ok_or_else(|| CommandError::not_found("store", arguments.store).help("STRAPY makes it"))?;
    Ok((client, record))
}

async fn start_on(
    port: &Port,
    record: &JobDescription,
    arguments: &JobArguments,
) -> Result<Running, ApplyError> {
    let (data, store) = (&arguments.data, arguments.store);
    let kind: StoreKind = record
        .kind
        .parse()
        .map_err(|error| CommandError::invalid(format!("{error}")))?;
    let (opened, message) = open_store(data, store, kind, record.cache_mib).await?;
    let saved = save_path(data, store);
    let found = opened.reader().position()?;
    // A store that was forgotten, and is started under its name again.
    let message = message.or_else(|| {
        let at = found.filter(|_| record.applied == Sequence::NONE)?.applied;
        let path = store_path(data, store);
        Some(JobMessage {
            id: "RJN5010".to_owned(),
            severity: Severity::Info,
            text: format!(
                "the store was there already, in {}, and goes on after entry {at}",
                path.display()
            ),
        })
    });
    port.report(Report {
        message,
        ..Report::default()
    })
    .await?;
    let mut options = JobOptions {
        save: Some(saved),
        ..JobOptions::default()
    };
    // In another journal its number is another entry's.
    let is_here = |journal: Option<JournalId>| {
        let at = found.map(|found| found.journal);
        at.is_none() || journal.is_none() || at == journal
    };
    if let Some(order) = record.skip.as_ref().filter(|order| is_here(order.journal)) {
        let skip = Skip {
            reason: order.reason.clone(),
            at: Timestamp::from_micros(order.at.as_micros()),
        };
        options.skip = Some((order.sequence, skip));
    }
    let job = ApplyJob::start_when_open(port.clone(), opened, options)?;
    // An open journal is attached before anybody is served, so that nobody is told that it is not open.
    job.shared().wait_looked().await;
    let options = DatabaseOptions {
        actor: [store.to_string(), String::new(), "RJOURNAL".to_owned()],
        ..DatabaseOptions::default()
    };
    let database = Database::open(port.clone(), job.shared().clone(), options).await?;
    let path = socket_path(data, store);
    let socket = StoreSocket::listen(path, database.clone()).map_err(|error| {
        let text = format!("the socket of store {store} cannot be made: {error}");
        CommandError::new(ErrorKind::Internal, "RJN5006", text)
    })?;
    Ok(Running {
        job,
        database,
        socket,
    })
}
