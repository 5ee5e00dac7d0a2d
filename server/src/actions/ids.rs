//! Ids of actions.

/// A new id that starts with the time, so that ids sort by it.
pub(crate) fn new_id(now: galera::Timestamp) -> String {
    format!("{:012x}-{:08x}", now.unix_millis(), rand::random::<u32>())
}

/// Whether `text` has the form of an id.
pub(crate) fn is_valid_id(text: &str) -> bool {
    text.len() <= 40
        && !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use galera::Timestamp;

    use super::*;

    #[test]
    fn ids_sort_by_time_and_are_valid() {
        let early = new_id(Timestamp::from_unix_millis(1_795_000_000_000));
        let late = new_id(Timestamp::from_unix_millis(1_795_000_000_001));
        assert!(early < late && is_valid_id(&early));
        for bad in ["", "a/b", "../x", "<script>", &"a".repeat(41)] {
            assert!(!is_valid_id(bad), "{bad}");
        }
    }
}
