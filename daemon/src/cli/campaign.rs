//! `offhook campaign start|pause|status`: outbound lists.

use std::fs::File;
use std::path::PathBuf;

use offhook_core::pacer::Pace;

use super::ask::{Trouble, asking};
use super::lead::rows;
use super::text::table;
use super::{Common, NO, OK, complain, print, print_json};
use crate::campaigns::CampaignView;
use crate::control::campaigns::{CampaignOrder, LISTED_AT_ONCE, Listed};
use crate::control::client::{Client, path_step};
use crate::upstream::event::rfc3339;

/// Lists of people to be called.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CampaignArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    Start(StartArgs),
    /// Call nobody more; `start` goes on.
    Pause {
        /// Its name.
        name: String,
    },
    /// How they do: who waits, what was reached, what refuses.
    Status {
        /// Of this one alone.
        name: Option<String>,
    },
}

/// Begin a campaign, go on with a paused one, or put more leads on its list.
/// Nobody is listed twice. Exit code 1: some lines name no lead.
#[derive(Clone, Debug, clap::Args)]
struct StartArgs {
    /// Its name.
    name: String,
    /// Whom to call: `.csv` or `.jsonl` with `number` or `id`, of leads that are imported.
    #[arg(long, value_name = "FILE")]
    leads: Option<PathBuf>,
    /// What its conversations go by; the config's when left out.
    #[arg(long, value_name = "NAME")]
    playbook: Option<String>,
    /// By which trunk; the config's when left out.
    #[arg(long, value_name = "NAME")]
    trunk: Option<String>,
    #[command(flatten)]
    pace: PaceArgs,
    /// Points it may spend; the config's when left out.
    #[arg(long, value_name = "POINTS")]
    budget: Option<i64>,
}

/// How the list is worked; all of these or none: the config's then.
#[derive(Clone, Debug, clap::Args)]
struct PaceArgs {
    /// Attempts to reach a person.
    #[arg(long, value_name = "N", requires_all = ["spacing_minutes", "at_once", "per_minute"])]
    attempts: Option<u32>,
    /// From one attempt to the next.
    #[arg(long, value_name = "MINUTES", requires = "attempts")]
    spacing_minutes: Option<u64>,
    /// Calls at the same time.
    #[arg(long, value_name = "N", requires = "attempts")]
    at_once: Option<u32>,
    /// Dialled in a minute.
    #[arg(long, value_name = "N", requires = "attempts")]
    per_minute: Option<u32>,
    /// Only while people are free to take each call over.
    #[arg(long, requires = "attempts")]
    agents: bool,
}

impl PaceArgs {
    fn pace(&self) -> Option<Pace> {
        Some(Pace {
            attempts: self.attempts?,
            spacing_ms: self.spacing_minutes?.saturating_mul(60_000),
            at_once: self.at_once?,
            per_minute: self.per_minute?,
            agents: self.agents,
        })
    }
}

pub(super) fn run(common: &Common, arguments: &CampaignArgs) -> u8 {
    asking(common, async |client| match &arguments.what {
        What::Start(verb) => start(common, &client, verb).await,
        What::Pause { name } => {
            let path = format!("/v1/campaigns/{}/pause", path_step(name));
            let view: CampaignView = client.post(&path, &()).await?;
            show(common, &[view]);
            Ok(OK)
        }
        What::Status { name } => {
            let mut all: Vec<CampaignView> = client.get("/v1/campaigns").await?;
            if let Some(name) = name {
                all.retain(|view| view.plan.name == *name);
                if all.is_empty() {
                    return Err(Trouble::No(format!("there is no campaign `{name}`")));
                }
            }
            show(common, &all);
            Ok(OK)
        }
    })
}

async fn start(common: &Common, client: &Client, arguments: &StartArgs) -> Result<u8, Trouble> {
    let mut order = CampaignOrder {
        name: arguments.name.clone(),
        playbook: arguments.playbook.clone(),
        trunk: arguments.trunk.clone(),
        pace: arguments.pace.pace(),
        budget: arguments.budget,
        leads: Vec::new(),
    };
    let mut listed = Listed::default();
    let mut more = match &arguments.leads {
        None => None,
        Some(file) => {
            let open = File::open(file);
            let open =
                open.map_err(|error| Trouble::CouldNot(format!("{}: {error}", file.display())))?;
            Some(rows(file, open)?)
        }
    };
    loop {
        let some = more.iter_mut().flatten().take(LISTED_AT_ONCE);
        for row in some {
            let named = row.map(|record| {
                let field = |name| record.fields.get(name).cloned();
                let named = field("id")
                    .or_else(|| field("number"))
                    .or_else(|| field("phone"));
                (record.line, named.unwrap_or_default())
            });
            match named {
                Ok(named) => order.leads.push(named),
                Err(rejected) => listed.rejected.push(rejected),
            }
        }
        let last = order.leads.is_empty();
        if last && listed != Listed::default() {
            break;
        }
        let answer: Listed = client.post("/v1/campaigns", &order).await?;
        order.leads.clear();
        listed.added += answer.added;
        listed.known += answer.known;
        listed.rejected.extend(answer.rejected);
        if last {
            break;
        }
    }
    tell(common, arguments, &listed);
    Ok(if listed.rejected.is_empty() { OK } else { NO })
}

fn tell(common: &Common, arguments: &StartArgs, listed: &Listed) {
    if common.json {
        return print_json(listed);
    }
    let file = arguments.leads.as_deref().unwrap_or("".as_ref()).display();
    for rejected in &listed.rejected {
        complain(&format!("{file}:{}: {}", rejected.line, rejected.reason));
    }
    print(&format!(
        "campaign {}: {} put on the list, {} were on it, {} not\n",
        arguments.name,
        listed.added,
        listed.known,
        listed.rejected.len()
    ));
}

fn show(common: &Common, views: &[CampaignView]) {
    if common.json {
        return print_json(&views);
    }
    let rows: Vec<Vec<String>> = views.iter().flat_map(lines).collect();
    print(&table(&rows, &[]));
}

fn lines(view: &CampaignView) -> Vec<Vec<String>> {
    let progress = &view.progress;
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let mut rows = vec![row(
        &view.plan.name,
        format!(
            "{}: {} leads, {} wait, {} being called, {} attempts, {} points spent",
            view.state,
            progress.leads,
            progress.waiting,
            progress.calling,
            progress.attempts,
            view.spent
        ),
    )];
    for (reason, count) in &progress.done {
        rows.push(row("", format!("{count} done: {reason}")));
    }
    for (rule, count) in &view.refusals {
        rows.push(row("", format!("{count} times not now: {rule}")));
    }
    if let Some(until) = progress.paused_until_ms {
        let text = format!(
            "THE LINE FAILS: nobody is dialled before {}",
            rfc3339(until)
        );
        rows.push(row("", text));
    }
    rows
}
