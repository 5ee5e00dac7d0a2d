//! The database releases that the lab can run: the installed one, and others that `scripts/database-roots` unpacks.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Which MariaDB, Galera and etcd a program of the lab runs with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerRelease {
    /// What is installed on this machine.
    #[default]
    Installed,
    /// MariaDB 10.5, etcd 3.3 (Debian 11).
    Bullseye,
    /// MariaDB 10.11, etcd 3.4 (Debian 12).
    Bookworm,
    /// MariaDB 11.8, etcd 3.5 (Debian 13).
    Trixie,
    /// MariaDB 11.8 with the newest Galera 4, etcd 3.5 (Debian's unstable distribution).
    Sid,
}

/// The versions in a release, as its distribution names them without epoch and revision, such as `10.5.23`.
#[derive(Clone, Debug)]
pub struct ReleaseVersions {
    pub mariadb: String,
    pub galera: String,
    pub etcd: String,
}

impl ServerRelease {
    /// Those that are unpacked, oldest first.
    pub const UNPACKED: [Self; 4] = [Self::Bullseye, Self::Bookworm, Self::Trixie, Self::Sid];

    /// The Debian suite that it is unpacked from; `None` for the installed one.
    #[must_use]
    pub const fn suite(self) -> Option<&'static str> {
        match self {
            Self::Installed => None,
            Self::Bullseye => Some("bullseye"),
            Self::Bookworm => Some("bookworm"),
            Self::Trixie => Some("trixie"),
            Self::Sid => Some("sid"),
        }
    }

    /// The directory that programs of this release are to see as /usr: everything that they load and call is below it, at
    /// the same paths as in an installed release. `None` for the installed one.
    ///
    /// # Errors
    /// If it is not unpacked; names the command that does it.
    pub fn usr(self) -> Result<Option<PathBuf>> {
        let Some(suite) = self.suite() else {
            return Ok(None);
        };
        let usr = roots()?.join(suite).join("usr");
        ensure!(
            usr.is_dir(),
            "{} is missing; unpack it with: scripts/database-roots {suite}",
            usr.display()
        );
        Ok(Some(usr))
    }

    /// The versions of what was unpacked.
    ///
    /// # Errors
    /// If it is the installed one or not unpacked.
    pub fn versions(self) -> Result<ReleaseVersions> {
        let suite = self.suite().context("the installed release has no list")?;
        let file = roots()?.join(suite).join("versions");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let versions: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .collect();
        let of = |package: &str| {
            let version = versions.get(package);
            let version = version.with_context(|| format!("no {package} in {suite}"))?;
            anyhow::Ok(upstream(version).to_owned())
        };
        Ok(ReleaseVersions {
            mariadb: of("mariadb-common")?,
            galera: of("galera-4")?,
            etcd: of("etcd-server")?,
        })
    }
}

impl fmt::Display for ServerRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suite().unwrap_or("installed"))
    }
}

/// A Debian version without its epoch, repacking mark and revision.
fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let end = version.find(['-', '+', '~']).unwrap_or(version.len());
    &version[..end]
}

/// Where `scripts/database-roots` unpacks, by the same rule as in scripts/lib.sh.
fn roots() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join("galera-console/roots"))
}

#[cfg(test)]
mod tests {
    use super::{ServerRelease, upstream};

    #[test]
    fn versions_of_debian_are_reduced_to_upstream_ones() {
        for (debian, expected) in [
            ("1:11.8.9+ds-0+deb13u1", "11.8.9"),
            ("26.4.27-1+b1", "26.4.27"),
            ("3.3.25+dfsg-6+b6", "3.3.25"),
            ("3.5.16-4", "3.5.16"),
        ] {
            assert_eq!(upstream(debian), expected);
        }
    }

    #[test]
    fn the_installed_release_replaces_nothing() {
        assert!(
            ServerRelease::Installed
                .usr()
                .is_ok_and(|usr| usr.is_none())
        );
    }
}
