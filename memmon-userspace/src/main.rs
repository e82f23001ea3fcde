//! The program `memmon`; everything is in the library.

fn main() -> std::process::ExitCode {
    memmon::cli::main()
}
