//! `offhook`, the command line: one file per family of verbs.
//!
//! Every verb has `--json`. Exit codes: 0 it worked, 1 the answer is no (the
//! config is wrong, there is no such call, the far end is busy), 2 it could not
//! be done (the daemon does not run, a file cannot be read, wrong arguments).

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod actions;
mod agent;
pub mod analyze;
mod ask;
mod audit;
mod bench;
mod calls;
mod campaign;
mod check;
mod decree;
mod dial;
mod explain;
mod hosts;
mod lead;
mod notify;
mod order;
mod picture;
mod policy;
mod recording;
mod replay;
mod score;
pub mod sink;
mod sound;
mod status;
mod text;
mod trunk;

/// It worked, or the answer is yes.
pub const OK: u8 = 0;
/// The answer is no.
pub const NO: u8 = 1;
/// It could not be done.
pub const COULD_NOT: u8 = 2;

/// Talk to offhookd, try out lines, look into recordings.
#[derive(Debug, Parser)]
#[command(name = "offhook", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 ok, 1 the answer is no, 2 could not do it.")]
struct Arguments {
    /// JSON instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    /// The daemon's control socket; otherwise the one of the config is used.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The daemon's config [default: /etc/offhook/offhook.toml].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Is the config right? All that a start would refuse, with line and key.
    Check,
    /// How the box does: calls, media, store, outbox, counters.
    Status,
    Calls(calls::CallsArgs),
    Call(calls::CallArgs),
    Tail(calls::TailArgs),
    Explain(explain::ExplainArgs),
    Originate(order::OriginateArgs),
    Hangup(order::HangupArgs),
    Lead(lead::LeadArgs),
    Approve(decree::ApproveArgs),
    Override(decree::OverrideArgs),
    Autonomy(decree::AutonomyArgs),
    Replay(replay::ReplayArgs),
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    Campaign(campaign::CampaignArgs),
    Actions(actions::ActionsArgs),
    Notify(notify::NotifyArgs),
    Listen(sound::ListenArgs),
    Speak(sound::SpeakArgs),
    #[command(subcommand)]
    Trunk(trunk::TrunkVerb),
    #[command(subcommand)]
    Bench(bench::BenchVerb),
    Dial(dial::DialArgs),
    Answer(dial::AnswerArgs),
    Analyze(analyze::AnalyzeArgs),
    Score(score::ScoreArgs),
    Sink(sink::SinkArgs),
}

/// What every verb is told beside its own arguments.
#[derive(Clone, Debug, Default)]
struct Common {
    json: bool,
    socket: Option<PathBuf>,
    config: Option<PathBuf>,
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let common = Common {
        json: arguments.json,
        socket: arguments.socket,
        config: arguments.config,
    };
    ExitCode::from(match arguments.verb {
        Verb::Check => check::run(&common),
        Verb::Status => status::run(&common),
        Verb::Calls(verb) => calls::list(&common, &verb),
        Verb::Call(verb) => calls::one(&common, &verb),
        Verb::Tail(verb) => calls::tail(&common, &verb),
        Verb::Explain(verb) => explain::run(&common, &verb),
        Verb::Originate(verb) => order::originate(&common, &verb),
        Verb::Hangup(verb) => order::hangup(&common, &verb),
        Verb::Actions(verb) => actions::run(&common, &verb),
        Verb::Notify(verb) => notify::run(&common, &verb),
        Verb::Campaign(verb) => campaign::run(&common, &verb),
        Verb::Lead(verb) => lead::run(&common, &verb),
        Verb::Approve(verb) => decree::approve(&common, &verb),
        Verb::Override(verb) => decree::lift(&common, &verb),
        Verb::Autonomy(verb) => decree::autonomy(&common, &verb),
        Verb::Replay(verb) => replay::run(&common, &verb),
        Verb::Policy(verb) => policy::run(&common, &verb),
        Verb::Audit(verb) => audit::run(&common, &verb),
        Verb::Listen(verb) => sound::listen(&common, &verb),
        Verb::Speak(verb) => sound::speak(&common, &verb),
        Verb::Bench(verb) => bench::run(&common, &verb),
        Verb::Trunk(verb) => trunk::run(&common, &verb),
        Verb::Dial(verb) => dial::dial(&common, &verb),
        Verb::Answer(verb) => dial::answer(&common, &verb),
        Verb::Analyze(verb) => return analyze::run(&verb, common.json),
        Verb::Score(verb) => score::run(&common, &verb),
        Verb::Sink(verb) => return sink::run(&verb, common.json),
    })
}

/// Prints to the standard output. A reader that has gone away is no reason to
/// complain.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a JSON value, readable, with a line end.
fn print_json(value: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(value).expect("our answers have string keys");
    print(&(text + "\n"));
}

/// Complains to the standard error.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "offhook: {text}");
}
