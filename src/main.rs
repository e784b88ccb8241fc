//! The `ringdove` command. Everything it does is in [`ringdove::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ringdove::cli::main()
}
