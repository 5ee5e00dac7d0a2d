//! The names of accounts of people whom an identity provider names.

use crate::records::UserName;

/// Longest first choice of a name, in characters; a number may follow.
const NAME_MAX: usize = 60;

/// The `number`th choice of a name for a person whom the provider at `issuer` calls `name`: with an `@`, which no other account
/// has.
pub(crate) fn account_name(name: &str, issuer: &str, number: usize) -> UserName {
    let plain = |text: &str| -> String {
        text.to_ascii_lowercase()
            .chars()
            .map(|c| match c {
                'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
                _ => '-',
            })
            .collect()
    };
    let host = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    let (local, domain) = match name.trim().rsplit_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => (local, domain),
        _ => (name.trim().trim_matches('@'), host),
    };
    let local = plain(if local.is_empty() { "user" } else { local });
    let domain: String = plain(domain).chars().take(NAME_MAX - 20).collect();
    let room = NAME_MAX - domain.len() - 1;
    let local: String = local.chars().take(room).collect();
    let suffix = match number {
        1 => String::new(),
        number => format!("-{number}"),
    };
    let text = format!("{local}{suffix}@{domain}");
    // Only characters of names are left, and at most 64 of them.
    text.parse().unwrap_or_else(|_| UserName::fallback(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_provider_is_never_that_of_another_account() {
        let issuer = "https://idp.example.org:8443/realms/main";
        let long = "x".repeat(300);
        for (name, first, second) in [
            ("Anna", "anna@idp.example.org", "anna-2@idp.example.org"),
            ("anna@example.org", "anna@example.org", "anna-2@example.org"),
            ("a@b@example.org", "a-b@example.org", "a-b-2@example.org"),
            (
                "root ü",
                "root--@idp.example.org",
                "root---2@idp.example.org",
            ),
            ("", "user@idp.example.org", "user-2@idp.example.org"),
            ("@", "user@idp.example.org", "user-2@idp.example.org"),
            ("../x", "..-x@idp.example.org", "..-x-2@idp.example.org"),
        ] {
            assert_eq!(account_name(name, issuer, 1).as_str(), first);
            assert_eq!(account_name(name, issuer, 2).as_str(), second);
        }
        for name in [long.as_str(), &format!("{long}@{long}"), "ä", "\u{0}"] {
            for issuer in ["", "x", issuer, &long] {
                for number in [1, 50] {
                    let made = account_name(name, issuer, number);
                    assert!(made.is_external() && made.as_str().len() <= 64, "{made}");
                }
            }
        }
    }
}
