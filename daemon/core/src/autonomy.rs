//! How far an action may go by itself, and what people and the box have
//! decreed about it beside the policy: limits of autonomy, and overrides.
//!
//! Plain values that the gate reads. Who may decree what is the daemon's
//! business; here a decree holds until it is replaced or its time is over.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// Stands for every role, or every action, in a grant or a limit.
pub const ANY: &str = "*";

/// How far an action may go by itself. A lower level never does more.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// What would have been done is recorded; nothing is done.
    Observe,
    /// A person approves it first.
    Ask,
    /// It is done when the gate says yes.
    #[default]
    Act,
}

impl Level {
    /// All of them, the narrowest first.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Ask, Self::Act];

    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Ask => "ask",
            Self::Act => "act",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| format!("unknown `{text}`; write `observe`, `ask` or `act`"))
    }
}

/// A level that holds instead of the policy's, for one role and action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// In this role; `*` in all.
    pub role: String,
    /// This action type; `*` all.
    pub action: String,
    /// How far it may go.
    pub level: Level,
    /// Who decreed it: a person's name, or `box` for the system itself.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A person lifts one rule, for a scope and a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Its name in records.
    pub id: String,
    /// The rule of the policy that does not deny meanwhile.
    pub rule: String,
    /// For this action type only.
    pub action: Option<String>,
    /// In this role only.
    pub role: Option<String>,
    /// For this lead only.
    pub lead: Option<String>,
    /// Until this time since daemon start.
    pub until: Duration,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What is decreed at this time; replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Levels instead of the policy's. Where several fit, the narrowest holds.
    pub limits: Vec<Limit>,
    /// Rules that do not deny meanwhile.
    pub overrides: Vec<Override>,
}

/// What an override may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The action type proposed.
    pub action: &'a str,
    /// The role it is proposed in.
    pub role: &'a str,
    /// The lead it is about.
    pub lead: &'a str,
}

impl Standing {
    /// How far it may go: the narrowest limit that fits, else the policy's level.
    pub fn level(&self, granted: Level, role: &str, action: &str) -> Level {
        let fits = |own: &str, asked: &str| own == ANY || own == asked;
        self.limits
            .iter()
            .filter(|limit| fits(&limit.role, role) && fits(&limit.action, action))
            .map(|limit| limit.level)
            .min()
            .unwrap_or(granted)
    }

    /// The override that lifts this rule now, if there is one.
    pub fn lifts(&self, now: Duration, rule: &str, scope: Scope<'_>) -> Option<&Override> {
        let fits = |own: &Option<String>, asked: &str| own.as_deref().is_none_or(|it| it == asked);
        self.overrides.iter().find(|it| {
            it.rule == rule
                && now < it.until
                && fits(&it.action, scope.action)
                && fits(&it.role, scope.role)
                && fits(&it.lead, scope.lead)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(role: &str, action: &str, level: Level) -> Limit {
        Limit {
            role: role.into(),
            action: action.into(),
            level,
            by: "ann".into(),
            reason: "trial".into(),
        }
    }

    #[test]
    fn the_narrowest_limit_that_fits_holds_instead_of_the_policy() {
        let standing = Standing {
            limits: vec![
                limit("booking", ANY, Level::Ask),
                limit(ANY, "schedule", Level::Act),
                limit("closing", "take_payment", Level::Observe),
            ],
            overrides: Vec::new(),
        };
        for (role, action, granted, level) in [
            ("booking", "schedule", Level::Act, Level::Ask),
            ("closing", "schedule", Level::Observe, Level::Act),
            ("closing", "take_payment", Level::Act, Level::Observe),
            ("closing", "callback", Level::Ask, Level::Ask),
        ] {
            assert_eq!(standing.level(granted, role, action), level, "{action}");
        }
    }

    #[test]
    fn an_override_lifts_its_rule_in_its_scope_until_its_time() {
        let whole = Override {
            id: "o1".into(),
            rule: "window.day".into(),
            action: Some("dial".into()),
            role: Some("outreach".into()),
            lead: Some("+1".into()),
            until: Duration::from_secs(10),
            by: "ann".into(),
            reason: "asked to be called tonight".into(),
        };
        let standing = Standing {
            limits: Vec::new(),
            overrides: vec![whole],
        };
        let scope = Scope {
            action: "dial",
            role: "outreach",
            lead: "+1",
        };
        let lifted = |seconds, rule, scope| {
            let now = Duration::from_millis(seconds);
            standing.lifts(now, rule, scope).is_some()
        };
        assert!(lifted(9_999, "window.day", scope));
        assert!(!lifted(10_000, "window.day", scope), "its time is over");
        assert!(!lifted(0, "window.sunday", scope));
        assert!(!lifted(
            0,
            "window.day",
            Scope {
                lead: "+2",
                ..scope
            }
        ));
        assert!(!lifted(0, "window.day", Scope { role: "x", ..scope }));
        assert!(!lifted(
            0,
            "window.day",
            Scope {
                action: "x",
                ..scope
            }
        ));
    }

    #[test]
    fn a_level_reads_back_and_a_wrong_one_says_what_to_write() {
        for level in Level::ALL {
            assert_eq!(level.name().parse(), Ok(level));
        }
        assert!(
            "asks"
                .parse::<Level>()
                .unwrap_err()
                .contains("`observe`, `ask` or `act`")
        );
    }
}
