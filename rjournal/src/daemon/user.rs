//! Room `daemon`: names of the machine's users, for the actor of an entry. Must not know what they may do.

use std::fs;

/// The name of a user by its number; the number where it has none here.
pub(super) fn user_name(number: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&users, number).unwrap_or_else(|| number.to_string())
}

/// The name of the user this process runs as.
pub(super) fn process_user() -> String {
    user_name(rustix::process::geteuid().as_raw())
}

/// Lines of `name:password:number:...`.
fn name_in(users: &str, number: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let found = fields.nth(1)?.parse::<u32>().ok()?;
        (found == number && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_number() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\n# none\n+\nqsec:x:1001:7:an officer:/home/q:/bin/sh\n";
        assert_eq!(name_in(users, 0).as_deref(), Some("root"));
        assert_eq!(name_in(users, 1001).as_deref(), Some("qsec"));
        assert_eq!(name_in(users, 7), None);
        assert_eq!(user_name(u32::MAX - 1), (u32::MAX - 1).to_string());
    }
}
