//! Package `cli`: the `rjournal` command. Reads the arguments, runs one command, ends with its exit code. Must not know what
//! a command does.

mod args;
mod attributes;
mod bench;
mod cl;
mod cl_arguments;
mod commands;
mod csv_text;
mod demo;
mod error;
mod group;
mod import_source;
mod load;
mod log;
mod made;
mod objects;
mod orphan;
mod output;
mod pair;
mod rows;
mod stopped;
mod text;
mod when;
mod written;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let output = output::Output::new(args.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.workers())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return output.failure(&error::CliError::internal(&error)),
    };
    match runtime.block_on(commands::run(args, &output)) {
        Ok(code) => code,
        Err(error) => output.failure(&error),
    }
}
