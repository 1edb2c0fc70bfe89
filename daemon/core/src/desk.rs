//! The only way out of a conversation: proposals are judged here, recorded, and
//! then become outputs. It knows the evidence of the instant, not the dialogue.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use smallvec::smallvec;

use crate::action::builtin;
use crate::autonomy::Standing;
use crate::book::{Book, Program};
use crate::facts::Facts;
use crate::gate::{self, Evidence, Judgement, Proposal};
use crate::id::{ActionId, ConversationId, LegId, Name, Seq, Turn};
use crate::intent::{Dimension, Intent};
use crate::lease::Leases;
use crate::memory::{Attestation, Identity, LeadId, Memory};
use crate::output::{Command, Output};
use crate::policy::Policy;
use crate::record::{Record, Rules, Values, Verdict, Weighed};
use crate::timers::Timers;

/// The caller's leg.
pub(crate) const CALLER: LegId = LegId(0);

/// Until a role says otherwise.
const HALF_LIFE_MS: u64 = 24_000;

/// In which role and stage something is proposed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scene {
    pub(crate) role: Name,
    pub(crate) stage: Name,
}

/// What is proposed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) kind: Name,
    pub(crate) object: Name,
    pub(crate) dedupe: Option<String>,
    pub(crate) flaws: Rules,
    /// A person has approved what was proposed when so many signals were known.
    pub(crate) approved: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) id: ConversationId,
    pub(crate) book: Arc<Book>,
    pub(crate) now: Duration,
    pub(crate) timers: Timers,
    pub(crate) facts: Facts,
    pub(crate) intent: Intent,
    pub(crate) turn: Turn,
    /// The caller has interrupted and is not yet understood.
    pub(crate) suspended: bool,
    /// When the caller's last turn began.
    pub(crate) turn_began: Duration,
    /// When the call was answered.
    pub(crate) answered: Duration,
    /// When the stage was entered.
    pub(crate) stage_began: Duration,
    /// Signals of the caller that something followed from.
    pub(crate) signals: u32,
    /// In whose order actions are delivered, and whom overrides may name.
    pub(crate) party: String,
    pub(crate) standing: Standing,
    /// Another policy, asked beside the one that holds, and what it said.
    pub(crate) shadow: Option<Arc<Policy>>,
    pub(crate) shadowed: Vec<(Record, Judgement)>,
    /// The role whose authority holds, and since when.
    token: (Name, Duration),
    pub(crate) in_force: BTreeSet<String>,
    /// Whom we talk with, as far as we were told.
    pub(crate) lead: Option<LeadId>,
    pub(crate) identity: Identity,
    pub(crate) attestation: Attestation,
    pub(crate) memory: Memory,
    /// Wall time at the daemon's start, ms since 1970.
    pub(crate) wall_at_zero_ms: u64,
    /// What is on offer (`slot.tuesday`), and until when.
    pub(crate) leases: Leases,
    /// The price that was told last, in cents; an offer of it that is over keeps it here.
    pub(crate) price: Option<i64>,
    pub(crate) authorised: u32,
    pub(crate) refused: u32,
    outputs: VecDeque<Output>,
    proposals: u32,
    plays: u32,
    seqs: u32,
}

impl Desk {
    pub(crate) fn new(id: ConversationId, book: Arc<Book>) -> Self {
        Self {
            id,
            book,
            now: Duration::ZERO,
            timers: Timers::default(),
            facts: Facts::default(),
            intent: Intent::new(HALF_LIFE_MS),
            turn: Turn::default(),
            suspended: false,
            turn_began: Duration::ZERO,
            answered: Duration::ZERO,
            stage_began: Duration::ZERO,
            signals: 0,
            party: id.to_string(),
            standing: Standing::default(),
            shadow: None,
            shadowed: Vec::new(),
            token: (Name::default(), Duration::ZERO),
            in_force: BTreeSet::new(),
            lead: None,
            identity: Identity::None,
            attestation: Attestation::Unknown,
            memory: Memory::default(),
            wall_at_zero_ms: 0,
            leases: Leases::default(),
            price: None,
            authorised: 0,
            refused: 0,
            outputs: VecDeque::new(),
            proposals: 0,
            plays: 0,
            seqs: 0,
        }
    }

    pub(crate) fn next_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.answered.is_zero() {
            // Its room is more than all the rest of a call that only rings.
            self.outputs = VecDeque::new();
        }
        output
    }

    pub(crate) fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.command_on(CALLER, command);
    }

    pub(crate) fn command_on(&mut self, leg: LegId, command: Command) {
        self.put(Output::Do(leg, command));
    }

    /// Time from now.
    pub(crate) fn after_ms(&self, ms: u64) -> Duration {
        self.now.saturating_add(Duration::from_millis(ms))
    }

    pub(crate) fn next_play(&mut self) -> u32 {
        self.plays = self.plays.saturating_add(1);
        self.plays
    }

    pub(crate) fn next_seq(&mut self) -> Seq {
        self.seqs = self.seqs.saturating_add(1);
        Seq(self.seqs)
    }

    /// Judges a proposal on an action that stays here; its record goes out.
    /// True when it is authorised.
    pub(crate) fn allows(&mut self, scene: &Scene, kind: &str, object: Name) -> bool {
        let ask = Ask {
            kind: kind.into(),
            object,
            ..Ask::default()
        };
        let record = self.judge(scene, ask);
        let verdict = record.verdict;
        self.put(Output::Decided(record));
        verdict == Verdict::Authorised
    }

    /// Judges a proposal; what becomes of the record is the caller's business.
    pub(crate) fn judge(&mut self, scene: &Scene, ask: Ask) -> Record {
        self.hold(&scene.role);
        self.refresh();
        self.proposals = self.proposals.saturating_add(1);
        let proposal = Proposal {
            kind: ask.kind,
            role: scene.role.clone(),
            turn: self.turn,
            signals: ask.approved.unwrap_or(self.signals),
            dedupe: ask.dedupe,
            flaws: ask.flaws,
            approved: ask.approved.is_some(),
        };
        let evidence = Evidence {
            now: self.now,
            turn: self.turn,
            signals: self.signals,
            suspended: self.suspended,
            lead: &self.party,
            facts: &self.facts,
            in_force: &self.in_force,
            standing: &self.standing,
        };
        let judgement = gate::judge(&self.book.policy, &evidence, &proposal);
        let shadow = self.shadow.as_ref();
        let shadow = shadow.map(|policy| gate::judge(policy, &evidence, &proposal));
        let action = self.book.catalogue.action(&proposal.kind);
        let record = Record {
            at: self.now,
            action: ActionId {
                conversation: self.id,
                number: self.proposals,
            },
            object: ask.object,
            role: proposal.role,
            stage: scene.stage.clone(),
            turn: proposal.turn,
            external: action.is_some_and(|action| action.external()),
            verdict: judgement.verdict,
            rules: judgement.rules,
            values: judgement.values,
            policy: self.book.policy.hash(),
            evidence: match action.is_some_and(|action| action.external()) {
                true => self.weighed(),
                false => Vec::new(),
            },
            kind: proposal.kind,
        };
        if record.kind == builtin::OPT_OUT {
            // Heard is heard, whatever becomes of the row.
            self.facts.own("opted_out", 1);
        }
        if let Some(judgement) = shadow {
            self.shadowed.push((record.clone(), judgement));
        }
        self.count(&record);
        record
    }

    /// The id of what is authorised with another action.
    pub(crate) fn next_action(&mut self) -> ActionId {
        self.proposals = self.proposals.saturating_add(1);
        ActionId {
            conversation: self.id,
            number: self.proposals,
        }
    }

    /// A role's authority begins with the role.
    pub(crate) fn hold(&mut self, role: &Name) {
        if self.token.0 != *role {
            self.token = (role.clone(), self.now);
        }
    }

    /// A judgement that a person's answer, or want of one, has settled.
    pub(crate) fn settle_asked(&mut self, mut record: Record, rule: &str) {
        record.at = self.now;
        record.verdict = Verdict::Refused;
        record.rules = smallvec![Name::new(rule)];
        self.count(&record);
        self.put(Output::Decided(record));
    }

    fn count(&mut self, record: &Record) {
        let counter = match record.verdict {
            Verdict::Authorised => &mut self.authorised,
            Verdict::Refused => &mut self.refused,
            Verdict::Asked | Verdict::Observed => return,
        };
        if record.external {
            *counter = counter.saturating_add(1);
        }
    }

    /// Brings the facts that change with time up to now.
    pub(crate) fn refresh(&mut self) {
        for (name, since) in [
            ("turn_ms", self.turn_began),
            ("call_ms", self.answered),
            ("stage_ms", self.stage_began),
        ] {
            let ms = self.now.saturating_sub(since).as_millis();
            self.facts.own(name, ms.try_into().unwrap_or(i64::MAX));
        }
        let role_s = self.now.saturating_sub(self.token.1).as_secs();
        self.facts
            .own("role_s", role_s.try_into().unwrap_or(i64::MAX));
        for dimension in Dimension::ALL {
            let score = self.intent.score(self.now, dimension);
            self.facts.own(dimension.fact(), score);
        }
        self.facts.own("intent_speed", self.intent.speed(self.now));
        self.facts.own("ready", self.intent.is_ready().into());
        self.leases.expire(self.now, &mut self.facts);
    }

    /// A change of role, or one that its guards did not let happen, for the record.
    pub(crate) fn note_role(&mut self, scene: &Scene, change: RoleChange) {
        self.proposals = self.proposals.saturating_add(1);
        let record = Record {
            at: self.now,
            action: ActionId {
                conversation: self.id,
                number: self.proposals,
            },
            kind: Name::new_static("role"),
            object: change.role,
            role: scene.role.clone(),
            stage: scene.stage.clone(),
            turn: self.turn,
            external: false,
            verdict: change.verdict,
            rules: change.rules,
            values: change.values,
            policy: self.book.policy.hash(),
            evidence: Vec::new(),
        };
        self.put(Output::Decided(record));
    }

    /// What intent rests on now.
    fn weighed(&self) -> Vec<Weighed> {
        let Program::Playbook(playbook) = &self.book.program else {
            return Vec::new();
        };
        let now = self.now;
        let trail = self.intent.trail(now);
        trail
            .map(|(kept, left)| Weighed {
                kind: kept.kind.into(),
                stage: playbook.stage(kept.stage).name.clone(),
                fact: Name::new_static(kept.dimension.fact()),
                amount: kept.amount,
                left,
                age_ms: now.saturating_sub(kept.at).as_millis() as u64,
            })
            .collect()
    }
}

/// What became of a change of role.
#[derive(Debug)]
pub(crate) struct RoleChange {
    /// Into which.
    pub(crate) role: Name,
    pub(crate) verdict: Verdict,
    pub(crate) rules: Rules,
    pub(crate) values: Values,
}
