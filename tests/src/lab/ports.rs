//! Reserved ports below the kernel's ephemeral range. A lock file reserves a port while it is in use, so that a node
//! can restart on its port and labs can run side by side.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};
use rand::Rng;

use super::directory;

/// Where searching begins; below are well-known services.
const LOWEST: u16 = 14_000;

/// A port that is reserved for this value's owner.
pub struct ReservedPort {
    number: u16,
    /// `None` in a network namespace that no other program uses.
    _lock: Option<File>,
}

impl ReservedPort {
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// This port in a network namespace of the caller, where it is free on every address.
    #[must_use]
    pub const fn in_own_namespace(number: u16) -> Self {
        Self {
            number,
            _lock: None,
        }
    }

    /// Reserves a port that is free on `address` alone.
    ///
    /// # Errors
    /// If none is free.
    pub fn reserve(address: Ipv4Addr) -> Result<Self> {
        Self::reserve_on(&[address])
    }

    /// Reserves one port that is free on every one of `addresses`.
    ///
    /// # Errors
    /// If none is free.
    pub fn reserve_on(addresses: &[Ipv4Addr]) -> Result<Self> {
        let directory = directory::base()?.join("ports");
        fs::create_dir_all(&directory)?;
        let highest = lowest_client_port().unwrap_or(32_768).max(LOWEST + 1_000);
        for _ in 0..1_000 {
            let number = rand::rng().random_range(LOWEST..highest);
            let lock =
                File::create(directory.join(number.to_string())).context("reserving a port")?;
            if lock.try_lock().is_ok() && addresses.iter().all(|address| is_free(*address, number))
            {
                return Ok(Self {
                    number,
                    _lock: Some(lock),
                });
            }
        }
        bail!("no free port from {LOWEST} to {highest}")
    }
}

fn is_free(address: Ipv4Addr, port: u16) -> bool {
    // A listener on all addresses would receive our connections, or prevent us from listening.
    TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).is_ok()
        && TcpListener::bind((address, port)).is_ok()
}

fn lowest_client_port() -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}
