//! The system user that the agent runs as, for whom MariaDB's plugin `unix_socket` needs no password.

use std::fs;

/// Its name in `/etc/passwd`; `None` if that does not list it or the name needs quoting.
#[must_use]
pub(super) fn name() -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    find(&users, rustix::process::geteuid().as_raw())
}

fn find(users: &str, id: u32) -> Option<String> {
    let line = users.lines().find(|line| {
        let field = line.split(':').nth(2);
        field.and_then(|field| field.parse().ok()) == Some(id)
    })?;
    let name = line.split(':').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (!name.is_empty() && name.len() <= 80 && name.chars().all(plain)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_its_number() {
        let users =
            "root:x:0:0::/root:/bin/sh\n\nmysql:x:102:105:MySQL,,,:/:/bin/false\nx'y:x:7:7::/:\n";
        assert_eq!(find(users, 102).as_deref(), Some("mysql"));
        assert_eq!(find(users, 1), None);
        assert_eq!(find(users, 7), None);
        assert_eq!(find("", 0), None);
    }
}
