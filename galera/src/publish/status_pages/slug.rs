//! The name of a page in its URL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::StatusPageRefusal;

/// Longest slug, in characters.
const SLUG_MAX: usize = 63;

/// A page's name in its URL: 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(
    feature = "openapi",
    schema(pattern = "^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$", max_length = 63)
)]
#[serde(transparent)]
pub struct Slug(String);

impl Slug {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = StatusPageRefusal;

    fn from_str(text: &str) -> Result<Self, StatusPageRefusal> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let valid = (1..=SLUG_MAX).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(StatusPageRefusal::InvalidSlug(
                text.chars().take(80).collect(),
            ))
        }
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Slug {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_one_plain_segment() {
        for good in ["a", "payments", "eu-west-1", "9", &"x".repeat(63)] {
            assert_eq!(good.parse::<Slug>().unwrap().as_str(), good);
        }
        let long = "x".repeat(64);
        for bad in [
            "", "-", "-a", "a-", "A", "a b", "a/b", "..", "a.b", "ä", "<script>", "a\n", &long,
        ] {
            assert!(bad.parse::<Slug>().is_err(), "{bad:?}");
        }
    }
}
