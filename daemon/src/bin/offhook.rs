//! The command line. All of it is in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    offhook::cli::run()
}
