//! Room `journal`: the name of the next receiver, made from the last one by IBM i's rules ("Naming conventions for
//! receivers"). Must not know receivers.

use crate::entry::{Name, QualifiedName};

/// Who knows the receivers of all journals of a system: a name belongs to one of them only.
pub trait ReceiverNames: std::fmt::Debug + Send + Sync {
    /// Claims a name for the next receiver of a journal; the journal's claim before it is forgotten. Says no where another
    /// journal has or claims the name, or where it was made for somebody else and the journal's operator did not name it.
    fn claim(&self, journal: QualifiedName, name: QualifiedName, named: bool) -> bool;
}

/// The next name after `last` that `taken` does not refuse.
///
/// DSTR0001 gives DSTR0002; a name that does not end in a digit is cut to 6 characters and gets 0001; fewer than four
/// digits at the end are widened to four where the name has room.
pub fn next_receiver_name(
    last: QualifiedName,
    taken: impl Fn(QualifiedName) -> bool,
) -> Option<QualifiedName> {
    let text = last.name.as_str();
    let digits = text
        .bytes()
        .rev()
        .take_while(u8::is_ascii_digit)
        .count()
        .min(4);
    let (stem, number) = text.split_at(text.len() - digits);
    let first = number.parse::<u32>().unwrap_or(0) + 1;
    let stem: String = stem.chars().take(6).collect();
    (first..=9999)
        .map(|number| format!("{stem}{number:04}"))
        .filter_map(|name| Name::new(&name).ok())
        .map(|name| QualifiedName::new(last.library, name))
        .find(|name| !taken(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(name: &str) -> String {
        let last = QualifiedName::new(Name::new("L").unwrap(), Name::new(name).unwrap());
        next_receiver_name(last, |_| false)
            .unwrap()
            .name
            .to_string()
    }

    #[test]
    fn names_go_on_as_on_ibm_i() {
        assert_eq!(next("DSTR0001"), "DSTR0002");
        assert_eq!(next("RECEIVER"), "RECEIV0001");
        assert_eq!(next("R7"), "R0008");
        assert_eq!(next("ABCDEF0099"), "ABCDEF0100");
    }

    #[test]
    fn a_name_that_is_taken_is_passed_over_and_after_9999_there_is_none() {
        let last = QualifiedName::new(Name::new("L").unwrap(), Name::new("R0001").unwrap());
        let found = next_receiver_name(last, |name| name.name.as_str() == "R0002");
        assert_eq!(found.unwrap().name.as_str(), "R0003");
        let full = QualifiedName::new(last.library, Name::new("R9999").unwrap());
        assert_eq!(next_receiver_name(full, |_| false), None);
    }
}
