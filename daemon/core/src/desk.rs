//! The only way out of a conversation: proposals are judged here, recorded, and
//! then become outputs. It knows the evidence of the instant, not the dialogue.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::book::Book;
use crate::facts::Facts;
use crate::gate::{self, Evidence, Proposal};
use crate::id::{ActionId, ConversationId, LegId, Seq, Turn};
use crate::intent::Intent;
use crate::lease::Leases;
use crate::memory::{Attestation, Identity, LeadId, Memory};
use crate::output::{Command, Output};
use crate::record::{Record, Verdict};
use crate::timers::Timers;

/// The caller's leg.
pub(crate) const CALLER: LegId = LegId(0);

/// In which role and stage something is proposed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scene {
    pub(crate) role: String,
    pub(crate) stage: String,
}

/// What is proposed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) kind: String,
    pub(crate) object: String,
    pub(crate) dedupe: Option<String>,
    pub(crate) flaws: Vec<String>,
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
            intent: Intent::default(),
            turn: Turn::default(),
            suspended: false,
            turn_began: Duration::ZERO,
            in_force: BTreeSet::new(),
            lead: None,
            identity: Identity::None,
            attestation: Attestation::Unknown,
            memory: Memory::default(),
            wall_at_zero_ms: 0,
            leases: Leases::default(),
            authorised: 0,
            refused: 0,
            outputs: VecDeque::new(),
            proposals: 0,
            plays: 0,
            seqs: 0,
        }
    }

    pub(crate) fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.put(Output::Do(CALLER, command));
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
    pub(crate) fn allows(&mut self, scene: &Scene, kind: &str, object: String) -> bool {
        let ask = Ask {
            kind: kind.to_owned(),
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
        self.refresh();
        self.proposals = self.proposals.saturating_add(1);
        let proposal = Proposal {
            kind: ask.kind,
            role: scene.role.clone(),
            turn: self.turn,
            dedupe: ask.dedupe,
            flaws: ask.flaws,
        };
        let evidence = Evidence {
            turn: self.turn,
            suspended: self.suspended,
            facts: &self.facts,
            in_force: &self.in_force,
        };
        let judgement = gate::judge(&self.book.policy, &evidence, &proposal);
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
            kind: proposal.kind,
        };
        self.count(&record);
        record
    }

    fn count(&mut self, record: &Record) {
        let counter = match record.verdict {
            Verdict::Authorised => &mut self.authorised,
            Verdict::Refused => &mut self.refused,
        };
        if record.external {
            *counter = counter.saturating_add(1);
        }
    }

    /// Brings the facts that change with time up to now.
    pub(crate) fn refresh(&mut self) {
        let turn_ms = self.now.saturating_sub(self.turn_began).as_millis();
        let intent = self.intent.score(self.now);
        self.facts
            .own("turn_ms", turn_ms.try_into().unwrap_or(i64::MAX));
        self.facts.own("intent", intent);
        self.leases.expire(self.now, &mut self.facts);
    }
}
