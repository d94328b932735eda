//! Room `daemon`: libraries: names that group journals, receivers and files. A remote journal is only made in a library
//! the target's operator has made (IBM i: ADDRMTJRN, step 2).

use serde::{Deserialize, Serialize};

use super::{CommandError, Done};
use crate::daemon::catalog::Library;
use crate::daemon::system::Shared;
use crate::entry::Name;

/// CRTLIB.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateLibrary {
    /// Its name.
    pub library: Name,
    /// Free text.
    #[serde(default)]
    pub text: String,
}

/// DLTLIB: an empty library.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteLibrary {
    /// Its name.
    pub library: Name,
}

impl Shared {
    pub(super) fn create_library(&self, request: CreateLibrary) -> Result<Done, CommandError> {
        let created_at = self.clock.wall();
        self.update_catalog(|catalog| {
            if catalog.libraries.contains_key(&request.library) {
                return Err(CommandError::exists("library", request.library));
            }
            catalog.libraries.insert(
                request.library,
                Library {
                    created_at,
                    text: request.text,
                },
            );
            Ok(Done {})
        })
    }

    pub(super) fn delete_library(&self, request: &DeleteLibrary) -> Result<Done, CommandError> {
        let library = request.library;
        let journal = self
            .journal_names()
            .into_iter()
            .find(|name| name.library == library);
        self.update_catalog(|catalog| {
            let file = catalog
                .files
                .keys()
                .find(|file| file.library == library)
                .map(ToString::to_string);
            let receiver = catalog
                .receivers
                .keys()
                .find(|receiver| receiver.library == library)
                .map(ToString::to_string);
            if let Some(inside) = journal.map(|name| name.to_string()).or(file).or(receiver) {
                return Err(CommandError::refused(
                    "CPF2161",
                    format!("library {library} is not empty: {inside} is in it"),
                ));
            }
            match catalog.libraries.remove(&library) {
                Some(_) => Ok(Done {}),
                None => Err(CommandError::not_found("library", library)),
            }
        })
    }

    /// The library must be there before anything is put into it.
    pub(in crate::daemon) fn require_library(&self, library: Name) -> Result<(), CommandError> {
        if self.catalog(|catalog| catalog.libraries.contains_key(&library)) {
            Ok(())
        } else {
            let help = format!("make it with: rjournal crtlib --lib {library}");
            Err(CommandError::not_found("library", library).help(help))
        }
    }
}
