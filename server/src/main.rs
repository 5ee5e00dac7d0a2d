//! The program `galera-console`.

use std::process::ExitCode;

fn main() -> ExitCode {
    galera_console::cli::main()
}
