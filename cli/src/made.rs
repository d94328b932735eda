//! Package `cli`: a stream file in the making: it gets its name when it is complete. Must not know what is written.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rjournal::daemon::ErrorKind;
use rjournal::disk::{Disk, OsDisk};

use crate::error::CliError;

/// What the machine said of a stream file that is written; `parameter` is the one it was named in.
pub(crate) fn failed(parameter: &str, path: &Path, error: &std::io::Error) -> CliError {
    let kind = match error.kind() {
        std::io::ErrorKind::AlreadyExists => ErrorKind::Exists,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Invalid,
    };
    CliError::wrong_path(kind, parameter, path, error)
}

/// A stream file in the making: it gets its name when it is complete.
pub(crate) struct Made<'a> {
    parameter: &'a str,
    path: &'a Path,
    disk: OsDisk,
    name: PathBuf,
    fresh: PathBuf,
    pub(crate) out: BufWriter<File>,
    complete: bool,
}

impl<'a> Made<'a> {
    /// Makes one beside its place; one that is there is replaced only where that was asked for.
    pub(crate) fn create(
        parameter: &'a str,
        path: &'a Path,
        replace: bool,
    ) -> Result<Self, CliError> {
        if path.exists() && !path.is_file() {
            return Err(CliError::invalid(format!(
                "{parameter} {}: what stands there is not a file",
                path.display()
            )));
        }
        if path.exists() && !replace {
            let why = "it is there already";
            let CliError(there) = CliError::wrong_path(ErrorKind::Exists, parameter, path, &why);
            let help = "with REPLACE it is replaced when the new one is complete";
            return Err(CliError(there.help(help)));
        }
        let directory = match path.parent() {
            Some(directory) if directory != Path::new("") => directory,
            _ => Path::new("."),
        };
        let name = path.file_name().unwrap_or_default();
        let mut fresh = name.to_os_string();
        fresh.push(format!(".{}", std::process::id()));
        let (name, fresh) = (PathBuf::from(name), PathBuf::from(fresh));
        let file = File::create_new(directory.join(&fresh))
            .map_err(|error| failed(parameter, path, &error))?;
        Ok(Self {
            parameter,
            path,
            disk: OsDisk::new(directory),
            name,
            fresh,
            out: BufWriter::new(file),
            complete: false,
        })
    }

    /// It is complete: durable, and under its name.
    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        self.out
            .flush()
            .and_then(|()| self.out.get_ref().sync_all())
            .and_then(|()| self.disk.durable_rename(&self.fresh, &self.name))
            .map_err(|error| failed(self.parameter, self.path, &error))?;
        self.complete = true;
        Ok(())
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.complete {
            // What is left of it is of no use to anybody.
            drop(self.disk.remove(&self.fresh));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_file_that_is_not_complete_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.csv");
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        for _ in 0..2 {
            let mut made = Made::create("TOSTMF", &path, false).unwrap();
            made.out.write_all(b"half of it").unwrap();
            assert!(!path.exists());
            drop(made);
            assert_eq!(names(), 0);
        }
        Made::create("TOSTMF", &path, false)
            .unwrap()
            .finish()
            .unwrap();
        assert!(path.exists());
        assert_eq!(names(), 1);
    }
}
