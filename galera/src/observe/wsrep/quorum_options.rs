//! The provider's options about quorum, from `wsrep_provider_options` or from variables of the provider plugin.

use super::parse_on_off;

/// The provider's options that decide which component becomes Primary. A field is `None` if it is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumOptions {
    /// `pc.weight`: the node's votes.
    pub weight: Option<u8>,
    /// `pc.ignore_sb`: half of the votes suffice.
    pub ignore_split_brain: Option<bool>,
    /// `pc.ignore_quorum`: every component stays Primary.
    pub ignore_quorum: Option<bool>,
}

impl QuorumOptions {
    /// Reads `wsrep_provider_options`: `name = value; …`. Options of other kinds are skipped.
    pub(super) fn apply_list(&mut self, list: &str) {
        for option in list.split(';') {
            if let Some((name, value)) = option.split_once('=') {
                self.apply(name.trim(), value);
            }
        }
    }

    pub(super) fn apply(&mut self, name: &str, value: &str) {
        let value = value.trim();
        match name {
            "pc.weight" => self.weight = value.parse().ok(),
            "pc.ignore_sb" => self.ignore_split_brain = parse_option_switch(value),
            "pc.ignore_quorum" => self.ignore_quorum = parse_option_switch(value),
            _ => {}
        }
    }
}

/// Parses a provider option that is on or off; Galera accepts more spellings than status variables have.
fn parse_option_switch(value: &str) -> Option<bool> {
    let is = |words: [&str; 2]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    parse_on_off(value)
        .or_else(|| is(["true", "yes"]).then_some(true))
        .or_else(|| is(["false", "no"]).then_some(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_options_among_others() {
        let mut options = QuorumOptions::default();
        options.apply_list(
            "base_dir = /var/lib/mysql/; gmcast.segment = 0; pc.ignore_quorum = false; pc.ignore_sb = YES; pc.weight = 3; ",
        );
        assert_eq!(
            options,
            QuorumOptions {
                weight: Some(3),
                ignore_split_brain: Some(true),
                ignore_quorum: Some(false),
            }
        );
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        for list in [
            "",
            ";;",
            "pc.weight",
            "pc.weight = 256; pc.ignore_sb = maybe",
            "pc.weight = -1",
        ] {
            let mut options = QuorumOptions::default();
            options.apply_list(list);
            assert_eq!(options, QuorumOptions::default(), "{list}");
        }
    }
}
