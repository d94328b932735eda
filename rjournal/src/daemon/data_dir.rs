//! Room `daemon`: the one directory a system lives in: who lives there, that nobody else does, and its key. Must not know
//! journals.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::catalog::CatalogFile;
use super::config::{CONFIG_FILE, Config};
use crate::disk::{DirectoryLock, Disk, OsDisk, SlotContent, SlotFile};
use crate::entry::{SystemId, SystemName, Timestamp};
use crate::error::{LinkError, SystemError};
use crate::link::Identity;

const LOCK: &str = "lock";
const SYSTEM: &str = "system";
const IDENTITY: &str = "identity.pem";
/// Directory of the journals.
pub(super) const JOURNALS_DIR: &str = "journals";
/// Directory of the replica stores.
pub(super) const STORES_DIR: &str = "stores";
/// Name of the control socket.
pub(super) const SOCKET: &str = "control.sock";
/// Longest path of a Unix socket.
pub(super) const SOCKET_PATH_MAX: usize = 107;

/// Who lives in a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemRecord {
    /// Identity.
    pub system: SystemId,
    /// Name.
    pub name: SystemName,
    /// When it was made.
    pub created_at: Timestamp,
    /// Number of the lock file on its file system: another one means that the directory was copied or restored.
    pub place: u64,
}

/// A data directory in this process's hands.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    record: SystemRecord,
    identity: Identity,
    lock: Mutex<Option<DirectoryLock>>,
}

impl DataDir {
    /// Makes a new system in `path`, which is empty or does not exist.
    ///
    /// # Errors
    /// [`SystemError`]: the directory holds something already, or the disk refuses.
    pub fn create(path: &Path, config: &Config, now: Timestamp) -> Result<(), SystemError> {
        let io = |action, source| SystemError::io(action, path, source);
        match fs::read_dir(path) {
            Ok(entries) => {
                let names: Vec<String> = entries
                    .filter_map(Result::ok)
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .collect();
                if names.iter().any(|name| name.starts_with(SYSTEM)) {
                    if !names.iter().any(|name| name == CONFIG_FILE) {
                        return Err(no_config(path));
                    }
                    return Err(SystemError::AlreadyInitialised {
                        path: path.to_path_buf(),
                    });
                }
                if let Some(name) = names.first() {
                    return Err(SystemError::ForeignFiles {
                        path: path.to_path_buf(),
                        name: name.clone(),
                    });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .map_err(|source| io("could not be made", source))?;
            }
            Err(source) => return Err(io("could not be read", source)),
        }
        let (identity, pem) = Identity::generate(config.name.as_str())?;
        write_private(&path.join(IDENTITY), pem.as_bytes())
            .map_err(|source| io("could not be written to", source))?;
        write_private(&path.join(CONFIG_FILE), config.to_text().as_bytes())
            .map_err(|source| io("could not be written to", source))?;
        let lock = DirectoryLock::take(&path.join(LOCK))
            .map_err(|source| io("could not be locked", source))?;
        let place = place_of(path).map_err(|source| io("could not be read", source))?;
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(path));
        for dir in [JOURNALS_DIR, STORES_DIR] {
            disk.create_dir(Path::new(dir))
                .map_err(|source| io("could not be written to", source))?;
        }
        let record = SystemRecord {
            system: identity.fingerprint().system_id(),
            name: config.name,
            created_at: now,
            place,
        };
        save(disk, &record).map_err(|source| io("could not be written to", source))?;
        drop(lock);
        Ok(())
    }

    /// Opens the system in `path` for this process alone. `moved` is the operator's word that a copied or restored
    /// directory is the system itself and the other one is gone.
    ///
    /// # Errors
    /// [`SystemError`]: no system there, another process has it, it was copied, its key is readable by others.
    pub fn open(path: &Path, moved: bool) -> Result<Self, SystemError> {
        let io = |action, source| SystemError::io(action, path, source);
        if !path.is_dir() {
            return Err(SystemError::NoSystem {
                path: path.to_path_buf(),
            });
        }
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(path));
        let mut record = read_record(path, &disk)?;
        let lock = DirectoryLock::take(&path.join(LOCK)).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => SystemError::InUse {
                path: path.to_path_buf(),
            },
            _ => io("could not be locked", source),
        })?;
        // Before the directory is taken as moved: a copy with a foreign key is no system.
        let identity = read_identity(&path.join(IDENTITY), record.system)?;
        let place = place_of(path).map_err(|source| io("could not be read", source))?;
        if place != record.place {
            if !moved {
                return Err(SystemError::Copied {
                    path: path.to_path_buf(),
                });
            }
            record.place = place;
            save(Arc::clone(&disk), &record)
                .map_err(|source| io("could not be written to", source))?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            disk,
            record,
            identity,
            lock: Mutex::new(Some(lock)),
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory as the rooms see it.
    pub const fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Gives the directory back: another process may have it now.
    pub(super) fn release(&self) {
        drop(
            self.lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// Who lives here.
    pub const fn record(&self) -> &SystemRecord {
        &self.record
    }

    /// Its key.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Reads the configuration of the system in a data directory.
///
/// # Errors
/// [`SystemError`]: none there, or wrong.
pub fn read_config(path: &Path) -> Result<Config, SystemError> {
    let file = path.join(CONFIG_FILE);
    match fs::read(&file).map(String::from_utf8) {
        Ok(Ok(text)) => Config::parse(&text, &file),
        Ok(Err(error)) => Err(SystemError::Config {
            path: file,
            reason: format!(
                "it is not UTF-8 from byte {} on",
                error.utf8_error().valid_up_to()
            ),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(no_config(path)),
        Err(source) => Err(SystemError::io("could not be read", file, source)),
    }
}

/// Where there is no configuration there may be a system all the same.
fn no_config(path: &Path) -> SystemError {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(path));
    match read_record(path, &disk) {
        Ok(record) => SystemError::NoConfig {
            path: path.join(CONFIG_FILE),
            data: path.to_path_buf(),
            name: record.name,
        },
        Err(error) => error,
    }
}

/// Checks what can be checked without taking a data directory: that the system of this configuration lives there, that
/// it was not copied, its key and its catalog can be read, and that its control socket has room. Nothing is changed; a
/// daemon may run. `moved` is the operator's word as in [`DataDir::open`].
///
/// # Errors
/// [`SystemError`].
pub fn check_data(path: &Path, config: &Config, moved: bool) -> Result<SystemRecord, SystemError> {
    if !path.is_dir() {
        return Err(SystemError::NoSystem {
            path: path.to_path_buf(),
        });
    }
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(path));
    let record = read_record(path, &disk)?;
    require_name(path, &record, config)?;
    let place =
        place_of(path).map_err(|source| SystemError::io("could not be read", path, source))?;
    if place != record.place && !moved {
        return Err(SystemError::Copied {
            path: path.to_path_buf(),
        });
    }
    read_identity(&path.join(IDENTITY), record.system)?;
    CatalogFile::open(&disk, path)?;
    let socket = config.socket.clone().unwrap_or_else(|| path.join(SOCKET));
    require_place_of_socket(path, &socket)?;
    Ok(record)
}

/// The configuration must be that of the system that lives in the directory.
pub(super) fn require_name(
    data: &Path,
    record: &SystemRecord,
    config: &Config,
) -> Result<(), SystemError> {
    if record.name == config.name {
        return Ok(());
    }
    let reason = format!(
        "name: the system in this directory is {}, not {}",
        record.name, config.name
    );
    Err(SystemError::Config {
        path: data.join(CONFIG_FILE),
        reason,
    })
}

/// The control socket's path must fit into a socket's address, and its directory be there.
pub(super) fn require_place_of_socket(data: &Path, socket: &Path) -> Result<(), SystemError> {
    let bytes = socket.as_os_str().len();
    let directory = socket.parent().unwrap_or(socket);
    let reason = if bytes > SOCKET_PATH_MAX {
        format!(
            "socket: {} has {bytes} bytes, and a socket's path has at most {SOCKET_PATH_MAX}; name a shorter one: socket = \"/run/rjournal.sock\"",
            socket.display()
        )
    } else if directory.is_dir() {
        return Ok(());
    } else {
        let missing = directory.display();
        format!("socket: there is no directory {missing}")
    };
    Err(SystemError::Config {
        path: data.join(CONFIG_FILE),
        reason,
    })
}

/// Reads who lives in a directory.
fn read_record(path: &Path, disk: &Arc<dyn Disk>) -> Result<SystemRecord, SystemError> {
    let refused = |source: io::Error| {
        // Files are opened for both.
        let action = match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => "cannot be written to",
            _ => "could not be read",
        };
        SystemError::io(action, path, source)
    };
    let (_, content) = SlotFile::open(Arc::clone(disk), Path::new(""), SYSTEM).map_err(refused)?;
    match content {
        SlotContent::Found { bytes, .. } => {
            serde_json::from_slice(&bytes).map_err(|error| SystemError::Damaged {
                path: path.join(SYSTEM),
                reason: error.to_string(),
            })
        }
        SlotContent::Missing => Err(SystemError::NoSystem {
            path: path.to_path_buf(),
        }),
        SlotContent::Damaged(reason) => Err(SystemError::Damaged {
            path: path.join(SYSTEM),
            reason,
        }),
        SlotContent::Newer(found) => Err(SystemError::Version {
            path: path.join(SYSTEM),
            found,
        }),
    }
}

fn save(disk: Arc<dyn Disk>, record: &SystemRecord) -> io::Result<()> {
    let (mut slots, _) = SlotFile::open(disk, Path::new(""), SYSTEM)?;
    slots.save(&serde_json::to_vec(record)?)
}

fn place_of(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path.join(LOCK))?.ino())
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads the key of the system that lives in a directory.
fn read_identity(path: &Path, system: SystemId) -> Result<Identity, SystemError> {
    let io = |source| SystemError::io("could not be read", path, source);
    let damaged = |reason: String| SystemError::Damaged {
        path: path.to_path_buf(),
        reason,
    };
    let mut file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged("it is missing".to_owned()));
        }
        opened => opened.map_err(io)?,
    };
    let mode = file.metadata().map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(SystemError::KeyReadable {
            path: path.to_path_buf(),
        });
    }
    let mut pem = Vec::new();
    file.read_to_end(&mut pem).map_err(io)?;
    // What is no text is no key either.
    let identity = Identity::from_pem(&String::from_utf8_lossy(&pem)).map_err(|error| {
        damaged(match error {
            LinkError::Identity { reason } => reason,
            error => error.to_string(),
        })
    })?;
    let found = identity.fingerprint().system_id();
    if found == system {
        Ok(identity)
    } else {
        Err(SystemError::OtherKey {
            path: path.to_path_buf(),
            found,
            expected: system,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str) -> Config {
        Config::new(SystemName::new(name).unwrap(), None)
    }

    fn make(dir: &Path) -> PathBuf {
        let data = dir.join("PRD");
        DataDir::create(&data, &config("PRD"), Timestamp::ZERO).unwrap();
        data
    }

    #[test]
    fn a_good_directory_is_good_also_while_its_daemon_runs() {
        let dir = tempfile::tempdir().unwrap();
        let data = make(dir.path());
        let _running = DataDir::open(&data, false).unwrap();
        assert_eq!(
            check_data(&data, &config("PRD"), false).unwrap().name,
            config("PRD").name
        );
    }

    #[test]
    fn what_a_newer_program_wrote_is_refused_by_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let data = make(dir.path());
        let slot = data.join("system.b");
        let mut bytes = fs::read(&slot).unwrap();
        bytes[8] = 9;
        // Nothing behind the version need be laid out as it is here.
        bytes.truncate(12);
        fs::write(&slot, &bytes).unwrap();
        let told = DataDir::open(&data, false).map(drop).unwrap_err();
        assert!(told.to_string().contains("format version 9"), "{told}");
        assert_eq!(fs::read(&slot).unwrap(), bytes);
    }

    /// The daemon once said that no system lives there, and `init` that one does.
    #[test]
    fn a_system_without_its_configuration_says_which_file_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let data = make(dir.path());
        fs::remove_file(data.join(CONFIG_FILE)).unwrap();
        let made = DataDir::create(&data, &config("PRD"), Timestamp::ZERO);
        for told in [read_config(&data).map(drop), made] {
            let told = told.unwrap_err().to_string();
            let missing = data.join(CONFIG_FILE).display().to_string();
            assert!(told.starts_with(&format!("{missing} is missing")), "{told}");
            assert!(told.ends_with("name = \"PRD\""), "{told}");
        }
        let none = read_config(&dir.path().join("none")).unwrap_err();
        assert!(matches!(none, SystemError::NoSystem { .. }), "{none}");
    }

    /// A system once started with another one's key, put there beside its restored files: no partner knew it.
    #[test]
    fn a_key_of_another_system_is_refused_and_the_directory_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let data = make(dir.path());
        let (other, pem) = Identity::generate("BKP").unwrap();
        fs::write(data.join(IDENTITY), pem).unwrap();
        // As if it had been copied, too.
        fs::copy(data.join(LOCK), data.join("copied")).unwrap();
        fs::remove_file(data.join(LOCK)).unwrap();
        fs::hard_link(data.join("copied"), data.join(LOCK)).unwrap();
        let before = fs::read(data.join("system.b")).unwrap();
        let told = DataDir::open(&data, true).map(drop).unwrap_err();
        assert!(matches!(told, SystemError::OtherKey { .. }), "{told}");
        let whose = other.fingerprint().system_id().to_string();
        assert!(told.to_string().contains(&whose), "{told}");
        let told = check_data(&data, &config("PRD"), true).unwrap_err();
        assert!(matches!(told, SystemError::OtherKey { .. }), "{told}");
        assert!(!data.join("system.a").exists());
        assert_eq!(fs::read(data.join("system.b")).unwrap(), before);
    }

    #[test]
    fn what_would_keep_a_daemon_from_starting_is_found_before() {
        let dir = tempfile::tempdir().unwrap();
        let data = make(dir.path());
        let told =
            |data: &Path, config: &Config| check_data(data, config, false).unwrap_err().to_string();
        assert!(told(&data, &config("BKP")).contains("PRD, not BKP"));
        assert!(told(dir.path(), &config("PRD")).contains("no system"));
        assert!(told(&dir.path().join("none"), &config("PRD")).contains("no system"));
        let mut long = config("PRD");
        long.socket = Some(dir.path().join("s".repeat(100)));
        assert!(told(&data, &long).contains("socket = "));
        long.socket = Some("/no/such/directory/x.sock".into());
        assert!(told(&data, &long).ends_with("there is no directory /no/such/directory"));
        let copy = dir.path().join("COPY");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&data).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        assert!(told(&copy, &config("PRD")).contains("copied or restored"));
        check_data(&copy, &config("PRD"), true).unwrap();
        let key = data.join(IDENTITY);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(told(&data, &config("PRD")).contains("identity"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let is_damaged = |why: &str| {
            let told = told(&data, &config("PRD"));
            let begin = format!("{} is damaged: {why}", key.display());
            assert!(told.starts_with(&begin), "{told}");
        };
        fs::write(&key, [0xff, 0xfe, b'x']).unwrap();
        is_damaged("no private key");
        fs::remove_file(&key).unwrap();
        is_damaged("it is missing");
    }

    #[test]
    fn a_configuration_that_is_no_text_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let data = make(dir.path());
        fs::write(data.join(CONFIG_FILE), b"name = \"PRD\"\n# \xff").unwrap();
        let told = read_config(&data).unwrap_err();
        assert!(matches!(told, SystemError::Config { .. }), "{told}");
        assert!(told.to_string().contains("from byte 15 on"), "{told}");
    }
}
