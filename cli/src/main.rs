//! The program `chat-groups`: one subcommand for each thing that a first-time user or an operator does by hand.

mod aws;
mod console;
mod forget;
mod history;
mod operate;
mod page;
mod post;
mod put_back;
mod reconcile;
mod run;
mod show;
mod verify;
mod why;
mod words;

use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Runs chat-groups on this machine, and checks and operates a deployment.
///
/// Every option can be set as the environment variable that its help names; an empty one counts as unset.
/// `eval "$(make -s outputs)"` sets the variables that name what is deployed.
///
/// Region, credentials and endpoints are the AWS SDK's own variables (AWS_REGION, AWS_ACCESS_KEY_ID, …).
/// With a profile or SSO, export them first: eval "$(aws configure export-credentials --format env)"
#[derive(Parser)]
#[command(name = "chat-groups", version, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Verify(verify::Args),
    Console(console::Args),
    Status(operate::StatusArgs),
    Reconcile(reconcile::Args),
    PutBack(put_back::Args),
    Rotate(operate::RotateArgs),
    Set(operate::SetArgs),
    Forget(forget::Args),
    Why(why::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Cli::command().mut_subcommands(|command| command.mut_args(without_empty_variable));
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    chat_groups_testkit::exit(match cli.command {
        Command::Run(args) => run::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Console(args) => console::run(args).await,
        Command::Status(args) => operate::status(args),
        Command::Reconcile(args) => reconcile::run(args).await,
        Command::PutBack(args) => put_back::run(args).await,
        Command::Rotate(args) => operate::rotate(args),
        Command::Set(args) => operate::set(args),
        Command::Forget(args) => forget::run(args).await,
        Command::Why(args) => why::run(args).await,
    })
}

/// Takes an empty environment variable as unset, as the functions do.
fn without_empty_variable(arg: clap::Arg) -> clap::Arg {
    match arg.get_env().and_then(std::env::var_os) {
        Some(value) if value.is_empty() => arg.env(Resettable::Reset),
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_explains_itself() {
        let cli = Cli::command();
        for command in cli.get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }
}
