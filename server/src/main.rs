//! The program `galera-console`.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Returns what a flood of connections needed to the system; the C library's allocator keeps it (docs/figures.md). Settings: `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    galera_console::cli::main()
}
