//! What is done by hand to a whole stack: the programs in `tools/` do it.
//!
//! They are Python with the pinned boto3, as `tools/deploy` is, and share its view of the stack. In Rust they would take the
//! AWS SDK's crates for five more services, which everybody would compile who only wants `make run`.

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The stack that is meant.
#[derive(clap::Args)]
struct Stack {
    /// The stack's name; without it that of samconfig.toml
    #[arg(long, env = "STACK_NAME")]
    stack_name: Option<String>,
}

/// Shows how a deployment is doing, on one screen; it only reads
///
/// The stack and its commit, the last callback, the answers of the last hour by outcome, queues and dead letters,
/// the last finished pass of reconcile with what it skipped and corrected, alarms that ring, whether the alarm mail
/// is confirmed, and the concurrency that is left.
///
/// It takes the rights to describe stacks and alarms, and to read metrics, queue attributes, reconcile's log,
/// subscriptions and Lambda's account settings. A right that is missing costs one line.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct StatusArgs {
    #[command(flatten)]
    stack: Stack,
}

/// Gives the deployed stack other parameters, with the template and the code that it has
///
/// Without any it shows them. Nothing is built, and no other version is deployed.
///
/// Example: chat-groups set LogRetentionDays=14 ForwardUrl=https://example.com/hook
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct SetArgs {
    /// Parameters of the template with their new values
    #[arg(value_name = "PARAMETER=VALUE")]
    parameters: Vec<String>,
    #[command(flatten)]
    stack: Stack,
}

/// Changes the callback token while callbacks go on; interrupted, it goes on where it stopped
///
///   1. It makes a new token and shows it: an own receiver that checks Sign has to accept it first.
///   2. It deploys both tokens, with the template and the code that the stack has.
///   3. It asks for the new token to be entered in the Chat console.
///   4. It waits for a callback that is signed with the new token.
///   5. It removes the old token from the secret and deploys again.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct RotateArgs {
    /// How many seconds step 4 waits; then both tokens stay accepted, and another run goes on
    #[arg(long, env = "WAIT", default_value_t = 600)]
    wait: u32,
    #[command(flatten)]
    stack: Stack,
}

/// Becomes `tools/status`.
pub fn status(args: StatusArgs) -> Result<(), Box<dyn Error>> {
    become_tool("status", &args.stack, &[])
}

/// Becomes `tools/set`.
pub fn set(args: SetArgs) -> Result<(), Box<dyn Error>> {
    become_tool("set", &args.stack, &args.parameters)
}

/// Becomes `tools/rotate`.
pub fn rotate(args: RotateArgs) -> Result<(), Box<dyn Error>> {
    become_tool("rotate", &args.stack, &[args.wait.to_string()])
}

/// Installs what the tools need, unless it is there, and becomes one of them. It returns only if that fails.
fn become_tool(name: &str, stack: &Stack, args: &[String]) -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let installed =
        Command::new("make").arg("--silent").arg("-C").arg(&root).arg(".tools/aws/installed").status();
    if !installed.map_err(|error| format!("make: {error}"))?.success() {
        return Err("make: expected to install .tools/aws".into());
    }
    let mut tool = Command::new(root.join(".tools/aws/bin/python"));
    tool.arg(root.join("tools").join(name)).args(args);
    tool.envs(stack.stack_name.as_ref().map(|name| ("STACK_NAME", name)));
    Err(format!("tools/{name}: {}", tool.exec()).into())
}
