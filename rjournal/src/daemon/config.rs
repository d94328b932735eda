//! Room `daemon`: the configuration file: what the operator of the machine decides, as opposed to the operator of the
//! journals. Read whole and checked whole before anything is used (failures.md CFG-2, CFG-3). Must not know journals.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::entry::SystemName;
use crate::error::SystemError;

/// Name of the file in the data directory.
pub const CONFIG_FILE: &str = "rjournal.toml";

/// Version of the file's keys and their meaning.
const VERSION: u16 = 1;

/// The first thing that is read of the file.
#[derive(Deserialize)]
struct ConfigVersion {
    version: Option<u16>,
}

/// The configuration of one system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of the file, nothing where it does not say so: then it is of this one.
    #[serde(default, skip_serializing)]
    version: Option<u16>,
    /// Name of the system, 1 to 8 characters.
    pub name: SystemName,
    /// Address partners connect to; none for a system that is never a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Address (TCP) where proxies ask for role and health over HTTP; none where nobody does. Port 0 takes a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<SocketAddr>,
    /// Command run for every message, with the message as JSON on its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_message: Option<String>,
    /// Command run before and after each step of a change of role in a recovery group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_role: Option<String>,
    /// That command is ended after so many seconds.
    #[serde(default = "default_role_hook")]
    pub role_hook_seconds: u32,
    /// What is logged to standard error, as in `info` or `rjournal=debug`.
    #[serde(default = "default_log")]
    pub log: String,
    /// Where the control socket stands, when the data directory's path is too long for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Cache of each replica store, in MiB.
    #[serde(default = "default_cache")]
    pub store_cache_mib: u32,
    /// Detached receivers are read from the medium once in so many days, to find what rots; 0: never.
    #[serde(default = "default_scrub")]
    pub scrub_days: u32,
    /// First copies take at most so many MiB a second from this system; 0: no bound of their own.
    #[serde(default)]
    pub first_copy_mib: u32,
}

fn default_log() -> String {
    "info".to_owned()
}

const fn default_role_hook() -> u32 {
    10
}

const fn default_cache() -> u32 {
    32
}

const fn default_scrub() -> u32 {
    7
}

impl Config {
    /// A configuration with defaults.
    pub fn new(name: SystemName, listen: Option<SocketAddr>) -> Self {
        Self {
            version: Some(VERSION),
            name,
            listen,
            health: None,
            on_message: None,
            on_role: None,
            role_hook_seconds: default_role_hook(),
            log: default_log(),
            socket: None,
            store_cache_mib: default_cache(),
            scrub_days: default_scrub(),
            first_copy_mib: 0,
        }
    }

    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// [`SystemError::Config`] naming the line, or the rule that is broken.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SystemError> {
        let failed = |reason: String| SystemError::Config {
            path: path.to_path_buf(),
            reason,
        };
        // Keys of a newer version may be unknown here, or mean something else.
        if let Ok(ConfigVersion {
            version: Some(found),
        }) = toml::from_str(text)
            && found > VERSION
        {
            let path = path.to_path_buf();
            return Err(SystemError::Version { path, found });
        }
        let config: Self = toml::from_str(text)
            .map_err(|error| failed(error.to_string().trim_end().to_owned()))?;
        if config.version == Some(0) {
            return Err(failed("version: they begin with 1".to_owned()));
        }
        if let Some(socket) = &config.socket
            && !socket.is_absolute()
        {
            return Err(failed("socket: an absolute path is needed".to_owned()));
        }
        if !(1..=65_536).contains(&config.store_cache_mib) {
            return Err(failed("store_cache_mib: 1 to 65536 are allowed".to_owned()));
        }
        if config.scrub_days > 3650 {
            return Err(failed("scrub_days: 0 to 3650 are allowed".to_owned()));
        }
        if !(1..=600).contains(&config.role_hook_seconds) {
            return Err(failed("role_hook_seconds: 1 to 600 are allowed".to_owned()));
        }
        for (key, command) in [
            ("on_message", &config.on_message),
            ("on_role", &config.on_role),
        ] {
            if command.as_ref().is_some_and(|text| text.trim().is_empty()) {
                return Err(failed(format!(
                    "{key}: the command is empty; leave the line out instead"
                )));
            }
        }
        Ok(config)
    }

    /// The file's text, with a comment on every line an operator may want to change.
    pub fn to_text(&self) -> String {
        let listen = self.listen.map_or_else(
            || "# listen = \"0.0.0.0:4433\"".to_owned(),
            |listen| format!("listen = \"{listen}\""),
        );
        let health = self.health.map_or_else(
            || "# health = \"127.0.0.1:8471\"".to_owned(),
            |health| format!("health = \"{health}\""),
        );
        let command = |key: &str, command: &Option<String>, example: &str| {
            let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
            command.as_ref().map_or_else(
                || format!("# {key} = {}", quoted(example)),
                |command| format!("{key} = {}", quoted(command)),
            )
        };
        let on_message = command("on_message", &self.on_message, "mail -s rjournal operator");
        let on_role = command("on_role", &self.on_role, "/usr/local/bin/move-address");
        format!(
            "# Configuration of this system. Checked with: rjournal daemon --check\n\
             version = {VERSION}\n\
             \n\
             # Name of the system, 1 to 8 characters.\n\
             name = \"{}\"\n\
             \n\
             # Address partners connect to (UDP). Leave it out on a system that is never a target.\n\
             {listen}\n\
             \n\
             # Address (TCP) where a proxy asks for role and health over HTTP.\n\
             {health}\n\
             \n\
             # Command run for every message, with the message as JSON on its standard input.\n\
             {on_message}\n\
             \n\
             # Command run before and after each step of a change of role in a recovery group; ended after so many seconds.\n\
             {on_role}\n\
             role_hook_seconds = {}\n\
             \n\
             # What is logged to standard error.\n\
             log = \"{}\"\n\
             \n\
             # Cache of each replica store, in MiB.\n\
             store_cache_mib = {}\n\
             \n\
             # Detached receivers are read from the medium once in so many days, to find what rots; 0: never.\n\
             scrub_days = {}\n",
            self.name, self.role_hook_seconds, self.log, self.store_cache_mib, self.scrub_days
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, SystemError> {
        Config::parse(text, Path::new("rjournal.toml"))
    }

    #[test]
    fn the_text_that_is_written_reads_back() {
        let config = Config::new(
            SystemName::new("PRD").unwrap(),
            Some("127.0.0.1:4433".parse().unwrap()),
        );
        assert_eq!(parse(&config.to_text()).unwrap(), config);
        let quoted = Config {
            health: Some("127.0.0.1:8471".parse().unwrap()),
            on_role: Some("logger \"$RJOURNAL_STEP\" 'of' \\1".to_owned()),
            role_hook_seconds: 3,
            ..config
        };
        assert_eq!(parse(&quoted.to_text()).unwrap(), quoted);
        let silent = Config::new(SystemName::new("PRD").unwrap(), None);
        assert_eq!(parse(&silent.to_text()).unwrap(), silent);
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_for_that_and_not_for_its_keys() {
        let told = |text: &str| parse(text).unwrap_err().to_string();
        let newer = told("version = 2\nname = \"PRD\"\ncolour = \"red\"");
        assert!(newer.contains("format version 2"), "{newer}");
        assert!(told("version = 1\nname = \"PRD\"\ncolour = \"red\"").contains("colour"));
        // One that an operator wrote without it is of this version.
        assert!(parse("name = \"PRD\"").is_ok());
    }

    #[test]
    fn what_is_unknown_or_wrong_is_refused_with_its_place() {
        for (text, told) in [
            ("name = \"PRD\"\nlisen = \"x\"", "lisen"),
            ("name = \"NAMETOOLONG\"", "too long"),
            ("listen = \"127.0.0.1:1\"", "name"),
            ("version = 0\nname = \"PRD\"", "version"),
            ("name = \"PRD\"\nlisten = \"nowhere\"", "listen"),
            ("name = \"PRD\"\nsocket = \"relative\"", "absolute"),
            ("name = \"PRD\"\nstore_cache_mib = 0", "store_cache_mib"),
            ("name = \"PRD\"\non_message = \" \"", "on_message"),
            ("name = \"PRD\"\non_role = \"\"", "on_role"),
            ("name = \"PRD\"\nrole_hook_seconds = 0", "role_hook_seconds"),
            ("name = \"PRD\"\nhealth = \"8471\"", "health"),
            ("name = \"PRD\"\nscrub_days = 4000", "scrub_days"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
