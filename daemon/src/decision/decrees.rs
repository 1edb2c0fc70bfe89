//! What people say to the box while it runs: approvals of actions that may not
//! go by themselves, limits of autonomy, overrides, another policy. And what
//! the box says to itself: it narrows, and only narrows.
//!
//! Every change is a row of the audit chain and an input of each live call.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use offhook_core::action::{Effect, builtin};
use offhook_core::output::Approval;
use offhook_core::{ActionId, ConversationId, Event, Level, Limit, Override, Policy};
use serde_json::value::to_raw_value;

use super::Decision;
use crate::clock;
use crate::control::{Decree, Decreed, Failure, OverrideOrder, StandingNow};
use crate::house::{Governing, Rules};
use crate::store::Write;
use crate::store::chain::Kind;
use crate::timeline::Line;
use crate::vigil::{self, Fate};

/// The system's own name in decrees.
const BOX: &str = "box";
/// Overrides at the same time; people who need more need another policy.
const OVERRIDES_MAX: usize = 64;
/// The longest override: a week.
const OVERRIDE_MOST: Duration = Duration::from_secs(7 * 24 * 3_600);

impl Decision {
    /// An action waits for a person.
    pub(super) fn asked(&mut self, id: ConversationId, approval: Approval) {
        tracing::warn!(message = "approval_wanted", CALL_ID = %id, action = %approval.action,
            kind = approval.kind);
        let line = Line::action("approval_wanted", approval.action.to_string());
        self.note(id, clock::now(), line);
        self.approvals.insert(approval.action, approval);
    }

    /// What waits for a person now; what is over is forgotten.
    pub(super) fn waiting(&mut self) -> Vec<Approval> {
        let (now, calls) = (clock::now(), &self.calls);
        self.approvals.retain(|id, approval| {
            let lives = calls.get(&id.conversation).is_some_and(|call| !call.over);
            lives && now < approval.until
        });
        self.approvals.values().cloned().collect()
    }

    /// A person answers.
    pub(super) fn approve(
        &mut self,
        action: ActionId,
        approved: bool,
        by: String,
    ) -> Result<(), Failure> {
        self.waiting();
        if self.approvals.remove(&action).is_none() {
            return Err(Failure::new(format!("nobody is asked about {action} now")));
        }
        let event = Event::Approval {
            action,
            approved,
            by,
        };
        self.feed(action.conversation, clock::now(), event);
        Ok(())
    }

    /// What is decreed now, with the evidence for widening.
    pub(super) fn standing_now(&mut self) -> StandingNow {
        self.expire();
        let now = clock::now();
        let overrides = self.standing.overrides.iter();
        StandingNow {
            limits: self.standing.limits.clone(),
            overrides: overrides
                .map(|it| (it.clone(), millis(it.until.saturating_sub(now))))
                .collect(),
            evidence: self.vigil.tallies(),
        }
    }

    /// A person decrees something, with a name and a reason.
    pub(super) fn decree(&mut self, decree: Decree) -> Result<Decreed, Failure> {
        self.expire();
        let said = match decree {
            Decree::Limit(limit) => self.limit(limit)?,
            Decree::Override(order) => self.lift(order)?,
            Decree::EndOverride { id, by } => {
                let before = self.standing.overrides.len();
                self.standing.overrides.retain(|it| it.id != id);
                if self.standing.overrides.len() == before {
                    return Err(Failure::new(format!("there is no override `{id}`")));
                }
                format!("override {id} ended by {by}")
            }
        };
        self.proclaim(&said);
        Ok(Decreed { said })
    }

    fn limit(&mut self, limit: Limit) -> Result<String, Failure> {
        named(&limit.by, &limit.reason)?;
        if limit.by == BOX {
            return Err(Failure::new(
                "`box` is the system itself: give your own name",
            ));
        }
        self.sendable(&limit.action)?;
        let (role, action) = (limit.role.clone(), limit.action.clone());
        let before = self.level(&role, &action);
        if before.is_none() {
            let reason = format!("the policy does not grant `{action}` to `{role}`: no limit can");
            return Err(Failure::new(reason));
        }
        self.standing
            .limits
            .retain(|it| it.role != role || it.action != action);
        let said = format!(
            "{action} as {role}: {} -> {} by {}: {}",
            before.map_or("none", Level::name),
            limit.level,
            limit.by,
            limit.reason
        );
        if limit.level > before.unwrap_or_default() {
            self.vigil.forget(&role, &action);
        }
        self.standing.limits.push(limit);
        Ok(said)
    }

    fn lift(&mut self, order: OverrideOrder) -> Result<String, Failure> {
        named(&order.by, &order.reason)?;
        let policy = self.house.policy();
        let Some(rule) = policy.rule(&order.rule) else {
            let reason = format!(
                "the policy has no rule `{}`; the gate's own stay",
                order.rule
            );
            return Err(Failure::new(reason));
        };
        if rule.firm {
            return Err(Failure::new(format!(
                "`{}` is firm: no override lifts it",
                rule.id
            )));
        }
        let lasts = Duration::from_secs(order.for_s);
        if lasts.is_zero() || lasts > OVERRIDE_MOST {
            return Err(Failure::new("an override lasts from one second to a week"));
        }
        if self.standing.overrides.len() >= OVERRIDES_MAX {
            return Err(Failure::new(
                "64 overrides are in force: end some, or change the policy",
            ));
        }
        self.decreed += 1;
        let id = format!("ov{}", self.decreed);
        let said = format!(
            "override {id}: {} lifted for {} s by {}: {}",
            order.rule, order.for_s, order.by, order.reason
        );
        self.standing.overrides.push(Override {
            id,
            rule: order.rule,
            action: order.action,
            role: order.role,
            lead: order.lead,
            until: clock::now() + lasts,
            by: order.by,
            reason: order.reason,
        });
        Ok(said)
    }

    /// What must not be called, and what time it is where, from now on; live calls
    /// hear of it with the next facts.
    pub(super) fn go_by(&mut self, rules: Rules) {
        let numbers = rules.barred.len();
        tracing::info!(
            message = "rules_read",
            do_not_call = numbers,
            zones = rules.zones.len()
        );
        self.rules = rules;
        self.facts_at = clock::now();
    }

    /// Another policy holds, for running calls as well.
    pub(super) fn govern(&mut self, governing: Governing, by: &str) -> usize {
        let said = format!(
            "policy {} ({}) by {by}",
            governing.policy.name(),
            governing.text.hash
        );
        if let Some((hash, text)) = governing.texts() {
            self.keep_text("policy", &governing.text.name, hash, text);
        }
        self.house.govern(governing);
        self.proclaim(&said);
        let live: Vec<ConversationId> = self.calls.keys().copied().collect();
        for id in &live {
            self.governed(*id);
        }
        live.len()
    }

    /// Tells a conversation what governs it from now on.
    pub(super) fn governed(&mut self, id: ConversationId) {
        let policy: Arc<Policy> = self.house.policy();
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.adopt(policy);
        let texts = self.house.texts(call.program());
        self.feed(id, clock::now(), Event::Governed(texts));
    }

    /// Keeps the texts that govern, each once for ever: a replay needs them.
    pub(super) fn keep_texts(&mut self, known: &BTreeSet<String>) {
        let house = Arc::clone(&self.house);
        for (kind, text) in house.settings.books.sources.named() {
            if !known.contains(&text.hash) {
                let content = house.settings.books.sources.texts.get(&text.hash);
                self.keep_text(kind, &text.name, &text.hash, content.map_or("", |it| it));
            }
        }
    }

    fn keep_text(&mut self, kind: &str, name: &str, hash: &str, text: &str) {
        let row = serde_json::json!({ "kind": kind, "name": name, "hash": hash, "text": text });
        self.keep_row(Kind::Text, &row);
    }

    fn keep_row(&mut self, kind: Kind, row: &serde_json::Value) {
        let body = to_raw_value(row).expect("JSON is JSON");
        self.keeper.keep(Write::Box { kind, body });
    }

    /// An action did not stand: its kind may have to be narrowed.
    pub(super) fn went_wrong(&mut self, action: ActionId, fate: Fate) {
        if let Some(((role, kind), reason)) = self.vigil.went_wrong(action, fate) {
            self.narrow(&role, &kind, reason);
        }
    }

    /// The store or the upstream cannot follow, or callers are not understood: what
    /// cannot be undone asks first.
    pub(super) fn overloaded(&mut self, reason: &str) {
        let policy = self.house.policy();
        let granted: Vec<(String, String)> = policy
            .grants()
            .filter(|(_, action, _)| self.is_irreversible(action))
            .map(|(role, action, _)| (role.to_owned(), action.to_owned()))
            .collect();
        for (role, action) in granted {
            self.narrow(&role, &action, reason.to_owned());
        }
    }

    pub(super) fn watch_backlog(&mut self) {
        let late = self.leads.backlog > vigil::BACKLOG_MAX;
        if late && !std::mem::replace(&mut self.overload, late) {
            self.overloaded("the upstream is far behind");
        }
        self.overload = late;
    }

    /// From acting to asking; never the other way.
    fn narrow(&mut self, role: &str, action: &str, reason: String) {
        let acts = self.level(role, action) == Some(Level::Act);
        if !acts || action == builtin::OPT_OUT || self.sendable(action).is_err() {
            return;
        }
        tracing::error!(message = "autonomy_narrowed", role, action, reason);
        self.standing
            .limits
            .retain(|it| it.role != role || it.action != action);
        let said = format!("{action} as {role}: act -> ask by {BOX}: {reason}");
        self.standing.limits.push(Limit {
            role: role.to_owned(),
            action: action.to_owned(),
            level: Level::Ask,
            by: BOX.to_owned(),
            reason,
        });
        self.proclaim(&said);
    }

    /// How far an action may go now; `None` where nobody granted it.
    fn level(&self, role: &str, action: &str) -> Option<Level> {
        let policy = self.house.policy();
        let granted = policy
            .grants()
            .find(|(to, kind, _)| *to == role && *kind == action)
            .map(|(_, _, grant)| grant.autonomy)?;
        Some(self.standing.level(granted, role, action))
    }

    fn is_irreversible(&self, action: &str) -> bool {
        let known = self.house.settings.books.catalogue.action(action);
        known.is_some_and(|it| it.irreversible && it.effect == Effect::Upstream)
    }

    fn sendable(&self, action: &str) -> Result<(), Failure> {
        let known = self.house.settings.books.catalogue.action(action);
        match known.map(|it| it.effect) {
            Some(Effect::Upstream) => Ok(()),
            Some(Effect::Line | Effect::Voice) => Err(Failure::new(format!(
                "`{action}` cannot wait for a person: only what is delivered upstream can"
            ))),
            None => Err(Failure::new(format!("there is no action `{action}`"))),
        }
    }

    /// Overrides whose time is over go; the core has stopped to heed them already.
    fn expire(&mut self) {
        let now = clock::now();
        self.standing.overrides.retain(|it| now < it.until);
    }

    /// Into the chain, and to everybody who lives.
    fn proclaim(&mut self, said: &str) {
        tracing::warn!(message = "decreed", what = said);
        let (now, wall) = (clock::now(), clock::wall());
        let until = |it: &Override| millis(wall + it.until.saturating_sub(now));
        let overrides = self.standing.overrides.iter();
        let row = serde_json::json!({
            "said": said,
            "limits": self.standing.limits,
            "overrides": overrides.clone().collect::<Vec<_>>(),
            "until_ms": overrides.map(until).collect::<Vec<_>>(),
        });
        self.keep_row(Kind::Decree, &row);
        let live: Vec<ConversationId> = self.calls.keys().copied().collect();
        for id in live {
            self.feed(id, now, Event::Standing(self.standing.clone()));
        }
    }
}

fn named(by: &str, reason: &str) -> Result<(), Failure> {
    match (by.trim().is_empty(), reason.trim().is_empty()) {
        (true, _) => Err(Failure::new("`by` is empty: say who decides")),
        (_, true) => Err(Failure::new("`reason` is empty: say why")),
        (false, false) => Ok(()),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
