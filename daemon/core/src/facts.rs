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
    /// The smallest and the largest value it can have.
    pub range: (i64, i64),
    /// What it means.
    pub meaning: &'static str,
}

const fn fact(name: &'static str, unit: &'static str, meaning: &'static str) -> FactInfo {
    FactInfo {
        name,
        unit,
        range: (0, i64::MAX),
        meaning,
    }
}

const fn flag(name: &'static str, meaning: &'static str) -> FactInfo {
    within(name, "flag", (0, 1), meaning)
}

const fn within(
    name: &'static str,
    unit: &'static str,
    range: (i64, i64),
    meaning: &'static str,
) -> FactInfo {
    FactInfo {
        name,
        unit,
        range,
        meaning,
    }
}

/// Minutes of a day.
const DAY: (i64, i64) = (0, 1_439);
/// A score of intent.
const SCORE: (i64, i64) = (-1_000, 1_000);
/// Days of a week, from Monday.
const WEEK: (i64, i64) = (1, 7);

/// Facts that the daemon feeds.
pub const DAEMON_FACTS: &[FactInfo] = &[
    flag(
        "account_ok",
        "the lead's account is in good standing, as leased from upstream",
    ),
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
    within(
        "consent_basis",
        "level",
        (0, 3),
        "0 none, 1 a business relationship, 2 said, 3 in writing",
    ),
    flag(
        "consent_recorded",
        "the lead's consent to be called is on file",
    ),
    fact(
        "contacts_24h",
        "contacts",
        "attempts to reach this person in the last 24 hours, by whatever number",
    ),
    flag(
        "do_not_call",
        "the number is on a do-not-call list or has opted out",
    ),
    fact(
        "last_contact_min",
        "minutes",
        "since the last attempt to reach this lead; a year when there was none",
    ),
    within(
        "local_minute",
        "minutes",
        DAY,
        "minute of the day where the other party is; unknown where it could be several",
    ),
    within(
        "local_minute_first",
        "minutes",
        DAY,
        "the earliest minute of the day in all zones the other party could be in",
    ),
    within(
        "local_minute_last",
        "minutes",
        DAY,
        "the latest minute of the day in all zones the other party could be in",
    ),
    fact(
        "media_free",
        "calls",
        "calls with audio that the box has room for now",
    ),
    fact(
        "price_cents",
        "cents",
        "the price that holds now; a change takes back what was acknowledged",
    ),
    within(
        "readiness",
        "level",
        (0, 3),
        "0 never reached, 1 reached, 2 promised in part, 3 promised and kept on record",
    ),
    flag("recording", "the call is recorded"),
    fact(
        "slots_free",
        "slots",
        "appointments that can be offered now, as far as leased",
    ),
    flag("store_ok", "the store took its last commit"),
    fact(
        "uplink_backlog",
        "rows",
        "authorised actions that the upstream has not acknowledged",
    ),
    within(
        "weekday",
        "day",
        WEEK,
        "day of the week where the other party is, 1 Monday to 7 Sunday; unknown where it could be two",
    ),
    within(
        "weekday_first",
        "day",
        WEEK,
        "the first weekday in all zones it could be",
    ),
    within(
        "weekday_last",
        "day",
        WEEK,
        "the last weekday in all zones it could be",
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
    flag(
        "check_digit_ok",
        "the last secret number collected ends in its check digit",
    ),
    fact(
        "confirmations",
        "times",
        "explicit confirmations since a collected value last changed",
    ),
    flag(
        "disclosure_heard",
        "that an automated assistant speaks was heard to its end",
    ),
    within(
        "energy_shift",
        "tenths of a decibel",
        (-600, 600),
        "level of what was said last over what is usual for this caller",
    ),
    flag(
        "hesitating",
        "a sound was held (\"um\") at the end of what was said last",
    ),
    within(
        "identity_level",
        "level",
        (0, 3),
        "0 nobody known, 1 a number is known, 2 they said who they are, 3 verified",
    ),
    within(
        "intent",
        "thousandths",
        SCORE,
        "evidence of intent, added by handlers, fading with time",
    ),
    within(
        "intent_price",
        "thousandths",
        SCORE,
        "comfort with the price, as `intent`",
    ),
    within(
        "intent_speed",
        "thousandths",
        (-2_000, 0),
        "how far `intent` is below its highest of the last 10 s; 0 or less",
    ),
    within(
        "intent_timing",
        "thousandths",
        SCORE,
        "comfort with the time, as `intent`",
    ),
    within(
        "intent_trust",
        "thousandths",
        SCORE,
        "trust in us, as `intent`",
    ),
    within(
        "objection_need",
        "state",
        (0, 5),
        "objection to that it is not needed: 0 unheard, 1 raised, 2 answered, 3 softened, 4 resolved, 5 reopened",
    ),
    within(
        "objection_price",
        "state",
        (0, 5),
        "objection to the price: 0 unheard, 1 raised, 2 answered, 3 softened, 4 resolved, 5 reopened",
    ),
    within(
        "objection_timing",
        "state",
        (0, 5),
        "objection to the time: 0 unheard, 1 raised, 2 answered, 3 softened, 4 resolved, 5 reopened",
    ),
    within(
        "objection_trust",
        "state",
        (0, 5),
        "objection to who we are: 0 unheard, 1 raised, 2 answered, 3 softened, 4 resolved, 5 reopened",
    ),
    fact(
        "objections_open",
        "count",
        "objections that are neither answered nor resolved",
    ),
    flag(
        "opted_out",
        "an opt-out was heard in this conversation, in words or keys",
    ),
    within(
        "pitch_shift",
        "hundredths of a semitone",
        (-6_000, 6_000),
        "pitch of what was said last over what is usual for this caller",
    ),
    flag(
        "price_acknowledged",
        "the caller agreed to the price after hearing it, and it holds",
    ),
    flag(
        "price_heard",
        "the price was heard to its end, and it holds",
    ),
    flag(
        "ready",
        "`intent` rose to the playbook's threshold and has not fallen back",
    ),
    flag(
        "recording_notice_heard",
        "that the call is recorded was heard to its end",
    ),
    fact(
        "response_pct",
        "percent",
        "how long the last answer took, of what this caller usually takes",
    ),
    fact("role_s", "s", "how long the present role has lasted"),
    fact(
        "speech_rate",
        "syllables a minute",
        "how fast this caller speaks, over the call",
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
        self.info().name
    }

    /// What it is.
    pub fn info(self) -> &'static FactInfo {
        let place = usize::from(self.0);
        match place.checked_sub(DAEMON_FACTS.len()) {
            None => &DAEMON_FACTS[place],
            Some(own) => &OWN_FACTS[own],
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

/// What is known now. Allocates with the first fact: a call that only rings has none.
#[derive(Clone, Debug, Default)]
pub struct Facts(Option<Box<[Option<i64>; COUNT]>>);

impl Facts {
    /// The value, if it is known.
    pub fn value(&self, fact: FactId) -> Option<i64> {
        self.0.as_ref()?[usize::from(fact.0)]
    }

    /// Learns or withdraws a value.
    pub fn set(&mut self, fact: FactId, value: Option<i64>) {
        let known = self.0.get_or_insert_with(|| Box::new([None; COUNT]));
        known[usize::from(fact.0)] = value;
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
