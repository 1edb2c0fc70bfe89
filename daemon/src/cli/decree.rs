//! `offhook approve`, `override`, `autonomy`: what people decree while the box
//! runs. Each has a name and a reason, and is a row of the audit chain.

use std::fmt::Write as _;

use offhook_core::{Level, Limit};

use super::ask::asking;
use super::text::{table, tame};
use super::{Common, OK, print, print_json};
use crate::control::client::path_step;
use crate::control::{ApprovalRow, Decree, Decreed, OverrideOrder, Placed, StandingNow, Verdict};

/// What waits for a person; or the answer to one of them.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ApproveArgs {
    /// Id of the action; without one, what waits is listed.
    action: Option<String>,
    /// Refuse it.
    #[arg(long)]
    decline: bool,
    /// Who decides; kept with the decision.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    by: String,
}

/// Rules that do not deny for a time; or lift one more.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct OverrideArgs {
    /// The rule to be lifted; without one, what is in force is listed.
    rule: Option<String>,
    /// For this action type only.
    #[arg(long)]
    action: Option<String>,
    /// In this role only.
    #[arg(long)]
    role: Option<String>,
    /// For this lead only.
    #[arg(long)]
    lead: Option<String>,
    /// For so many minutes; a week at most.
    #[arg(long = "for", value_name = "MINUTES", default_value_t = 60)]
    minutes: u64,
    /// End this override instead.
    #[arg(long, value_name = "ID", conflicts_with = "rule")]
    end: Option<String>,
    /// Who; kept in the audit chain.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    by: String,
    /// Why; kept in the audit chain.
    #[arg(long, requires = "rule")]
    reason: Option<String>,
}

/// How far actions may go by themselves; or set it for one.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct AutonomyArgs {
    /// In which role; without one, what holds is listed with its evidence.
    #[arg(requires = "action")]
    role: Option<String>,
    /// Which action type.
    #[arg(requires = "level")]
    action: Option<String>,
    /// `observe`, `ask` or `act`.
    #[arg(requires = "reason")]
    level: Option<Level>,
    /// Who; kept in the audit chain.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    by: String,
    /// Why; kept in the audit chain.
    #[arg(long)]
    reason: Option<String>,
}

pub(super) fn approve(common: &Common, arguments: &ApproveArgs) -> u8 {
    asking(common, async |client| {
        let Some(action) = &arguments.action else {
            let rows: Vec<ApprovalRow> = client.get("/v1/approvals").await?;
            if common.json {
                print_json(&rows);
            } else {
                print(&waiting(&rows));
            }
            return Ok(OK);
        };
        let verdict = Verdict {
            approve: !arguments.decline,
            by: arguments.by.clone(),
        };
        let path = format!("/v1/approvals/{}", path_step(action));
        let answered: Placed = client.post(&path, &verdict).await?;
        if common.json {
            print_json(&answered);
        }
        Ok(OK)
    })
}

fn waiting(rows: &[ApprovalRow]) -> String {
    if rows.is_empty() {
        return "nothing waits for a person\n".to_owned();
    }
    let cells = rows.iter().map(|row| {
        vec![
            row.action.clone(),
            row.kind.clone(),
            tame(&row.object),
            format!("as {}", row.role),
            tame(&row.lead),
            format!("{} s left", row.left_ms / 1_000),
        ]
    });
    table(&cells.collect::<Vec<_>>(), &[])
}

pub(super) fn lift(common: &Common, arguments: &OverrideArgs) -> u8 {
    let decree = match (&arguments.rule, &arguments.end) {
        (Some(rule), _) => Decree::Override(OverrideOrder {
            rule: rule.clone(),
            action: arguments.action.clone(),
            role: arguments.role.clone(),
            lead: arguments.lead.clone(),
            for_s: arguments.minutes.saturating_mul(60),
            by: arguments.by.clone(),
            reason: arguments.reason.clone().unwrap_or_default(),
        }),
        (None, Some(id)) => Decree::EndOverride {
            id: id.clone(),
            by: arguments.by.clone(),
        },
        (None, None) => return show(common),
    };
    send(common, decree)
}

pub(super) fn autonomy(common: &Common, arguments: &AutonomyArgs) -> u8 {
    let (Some(role), Some(action), Some(level)) =
        (&arguments.role, &arguments.action, arguments.level)
    else {
        return show(common);
    };
    let limit = Limit {
        role: role.clone(),
        action: action.clone(),
        level,
        by: arguments.by.clone(),
        reason: arguments.reason.clone().unwrap_or_default(),
    };
    send(common, Decree::Limit(limit))
}

fn send(common: &Common, decree: Decree) -> u8 {
    asking(common, async |client| {
        let decreed: Decreed = client.post("/v1/decrees", &decree).await?;
        if common.json {
            print_json(&decreed);
        } else {
            print(&format!("{}\n", decreed.said));
        }
        Ok(OK)
    })
}

fn show(common: &Common) -> u8 {
    asking(common, async |client| {
        let standing: StandingNow = client.get("/v1/decrees").await?;
        if common.json {
            print_json(&standing);
        } else {
            print(&text(&standing));
        }
        Ok(OK)
    })
}

fn text(standing: &StandingNow) -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").expect("a String takes all");
    if standing.limits.is_empty() {
        line("autonomy: as the policy grants it".to_owned());
    }
    for limit in &standing.limits {
        line(format!(
            "autonomy: {} as {} may {}, by {}: {}",
            limit.action, limit.role, limit.level, limit.by, limit.reason
        ));
    }
    for (lifted, left_ms) in &standing.overrides {
        let scope = [&lifted.action, &lifted.role, &lifted.lead];
        let scope: Vec<String> = scope.into_iter().flatten().map(|it| tame(it)).collect();
        line(format!(
            "override {}: {} lifted for {} for {} s more, by {}: {}",
            lifted.id,
            lifted.rule,
            if scope.is_empty() {
                "all".to_owned()
            } else {
                scope.join(", ")
            },
            left_ms / 1_000,
            lifted.by,
            lifted.reason
        ));
    }
    for tally in &standing.evidence {
        line(format!(
            "evidence: {} as {}: of the last {}, {} taken back by the caller, {} rejected upstream",
            tally.action, tally.role, tally.recent, tally.taken_back, tally.rejected
        ));
    }
    text
}
