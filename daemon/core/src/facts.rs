//! The named integers that the gate and the guards may read: a closed list.
//!
//! A fact that is not known is missing, and a rule that reads it denies. Who
//! provides a fact is part of the list: the daemon feeds `DAEMON_FACTS` with
//! `Event::Facts`, a conversation keeps `OWN_FACTS` itself and takes them from
//! nobody.

/// What a fact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactInfo {
    /// Its name in policies, playbooks and records.
    pub name: &'static str,
    /// Its unit; `flag` is 0 or 1.
    pub unit: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn fact(name: &'static str, unit: &'static str, meaning: &'static str) -> FactInfo {
    FactInfo {
        name,
        unit,
        meaning,
    }
}

/// Facts that the daemon feeds.
pub const DAEMON_FACTS: &[FactInfo] = &[
    fact(
        "agents_free",
        "people",
        "people who could take a transferred call now",
    ),
    fact(
        "budget_left_campaign",
        "points",
        "what the campaign may still spend",
    ),
    fact(
        "budget_left_day",
        "points",
        "what the box may still spend today",
    ),
    fact(
        "budget_left_lead",
        "points",
        "what may still be spent on this lead",
    ),
    fact(
        "calls_active",
        "calls",
        "conversations on the box now, this one included",
    ),
    fact(
        "consent_recorded",
        "flag",
        "the lead's consent to be called is on file",
    ),
    fact(
        "contacts_24h",
        "contacts",
        "attempts to reach this number in the last 24 hours",
    ),
    fact(
        "do_not_call",
        "flag",
        "the number is on a do-not-call list or has opted out",
    ),
    fact(
        "last_contact_min",
        "minutes",
        "since the last attempt to reach this lead; a year when there was none",
    ),
    fact(
        "local_minute",
        "minutes",
        "minute of the day where the other party is, 0 to 1439",
    ),
    fact(
        "price_cents",
        "cents",
        "the price that holds now; a change takes back what was acknowledged",
    ),
    fact(
        "readiness",
        "level",
        "0 never reached, 1 reached, 2 promised in part, 3 promised and kept on record",
    ),
    fact(
        "slots_free",
        "slots",
        "appointments that can be offered now, as far as leased",
    ),
    fact("store_ok", "flag", "the store took its last commit"),
    fact(
        "uplink_backlog",
        "rows",
        "authorised actions that the upstream has not acknowledged",
    ),
    fact(
        "weekday",
        "day",
        "day of the week where the other party is, 1 Monday to 7 Sunday",
    ),
];

/// Facts that a conversation keeps about itself.
pub const OWN_FACTS: &[FactInfo] = &[
    fact(
        "barge_ins",
        "times",
        "how often the caller has talked over a prompt",
    ),
    fact("call_ms", "ms", "time since the call was answered"),
    fact(
        "confirmations",
        "times",
        "explicit confirmations since a collected value last changed",
    ),
    fact(
        "disclosure_heard",
        "flag",
        "that an automated assistant speaks was heard to its end",
    ),
    fact(
        "identity_level",
        "level",
        "0 nobody known, 1 a number is known, 2 they said who they are, 3 verified",
    ),
    fact(
        "intent",
        "thousandths",
        "evidence of intent, added by handlers, fading with time",
    ),
    fact(
        "intent_price",
        "thousandths",
        "comfort with the price, as `intent`",
    ),
    fact(
        "intent_speed",
        "thousandths",
        "change of `intent` within the last 10 s",
    ),
    fact(
        "intent_timing",
        "thousandths",
        "comfort with the time, as `intent`",
    ),
    fact("intent_trust", "thousandths", "trust in us, as `intent`"),
    fact(
        "objection_need",
        "state",
        "objection to that it is not needed: 0 unheard, 1 raised, 2 answered, 3 softened, 4 resolved, 5 reopened",
    ),
    fact(
        "objection_price",
        "state",
        "objection to the price: 0 unheard, 1 raised, 2 answered, 3 softened, 4 resolved, 5 reopened",
    ),
    fact(
        "objection_timing",
        "state",
        "objection to the time: 0 unheard, 1 raised, 2 answered, 3 softened, 4 resolved, 5 reopened",
    ),
    fact(
        "objection_trust",
        "state",
        "objection to who we are: 0 unheard, 1 raised, 2 answered, 3 softened, 4 resolved, 5 reopened",
    ),
    fact(
        "objections_open",
        "count",
        "objections that are neither answered nor resolved",
    ),
    fact(
        "price_acknowledged",
        "flag",
        "the caller agreed to the price after hearing it, and it holds",
    ),
    fact(
        "price_heard",
        "flag",
        "the price was heard to its end, and it holds",
    ),
    fact(
        "ready",
        "flag",
        "`intent` rose to the playbook's threshold and has not fallen back",
    ),
    fact(
        "recording_notice_heard",
        "flag",
        "that the call is recorded was heard to its end",
    ),
    fact(
        "response_pct",
        "percent",
        "how long the last answer took, of what this caller usually takes",
    ),
    fact("stage_ms", "ms", "time since the stage was entered"),
    fact(
        "turn_ms",
        "ms",
        "time since the caller's last turn began; since the answer before the first",
    ),
];

const COUNT: usize = DAEMON_FACTS.len() + OWN_FACTS.len();

/// A name from the list; made at compile time of a policy, never at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FactId(u8);

impl FactId {
    /// The fact of that name.
    pub fn find(name: &str) -> Option<Self> {
        names()
            .position(|known| known == name)
            .map(|place| Self(place as u8))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        let place = usize::from(self.0);
        match place.checked_sub(DAEMON_FACTS.len()) {
            None => DAEMON_FACTS[place].name,
            Some(own) => OWN_FACTS[own].name,
        }
    }

    /// Fed by the daemon, not kept by the conversation.
    pub fn is_fed(self) -> bool {
        usize::from(self.0) < DAEMON_FACTS.len()
    }
}

/// All names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    DAEMON_FACTS.iter().chain(OWN_FACTS).map(|known| known.name)
}

/// What is known now. Does not allocate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts([Option<i64>; COUNT]);

impl Default for Facts {
    fn default() -> Self {
        Self([None; COUNT])
    }
}

impl Facts {
    /// The value, if it is known.
    pub fn value(&self, fact: FactId) -> Option<i64> {
        self.0[usize::from(fact.0)]
    }

    /// Learns or withdraws a value.
    pub fn set(&mut self, fact: FactId, value: Option<i64>) {
        self.0[usize::from(fact.0)] = value;
    }

    /// Learns one of `OWN_FACTS`.
    ///
    /// # Panics
    /// When the name is not in the list.
    pub fn own(&mut self, name: &str, value: i64) {
        let fact = FactId::find(name).expect("own facts are named in OWN_FACTS");
        self.set(fact, Some(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_itself_and_its_source() {
        for known in DAEMON_FACTS {
            let id = FactId::find(known.name).unwrap();
            assert_eq!((id.name(), id.is_fed()), (known.name, true));
        }
        for known in OWN_FACTS {
            let id = FactId::find(known.name).unwrap();
            assert_eq!((id.name(), id.is_fed()), (known.name, false));
        }
        assert_eq!(FactId::find("moon_phase"), None);
    }
}
