//! A secret of the caller on its way from the media edge to its sink. What it is
//! never comes here: how many keys, whether the check digit is right, and the id
//! under which the sink has it are all that this conversation ever knows.

use core::time::Duration;

use smol_str::format_smolstr;

use super::Dialogue;
use crate::action::builtin;
use crate::desk::{Ask, Desk};
use crate::id::{ActionId, Name, Seq};
use crate::output::{Command, Output, Persist, SecretKeys};
use crate::playbook::Collect;
use crate::record::Verdict;
use crate::signal::SignalKind;
use crate::timers::Timer;

/// The sink is given up after this long; its own timeout in the config is shorter.
const HAND_OVER_MS: u64 = 30_000;

/// A secret that the gate let go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handing {
    id: ActionId,
    seq: Seq,
    /// The store has answered.
    ordered: bool,
}

/// What the media edge is to wait for.
pub(super) fn collect(wanted: &Collect) -> Command {
    let keys = SecretKeys {
        digits: wanted.digits.try_into().unwrap_or(u8::MAX),
        terminator: wanted.terminator,
    };
    Command::Collect {
        secret: wanted.secret.is_some().then_some(keys),
    }
}

impl Dialogue {
    /// The keys are complete: the gate says whether they may go, the disk keeps that
    /// it said so, and then they go.
    pub(crate) fn sealed(&mut self, desk: &mut Desk, at: Duration, _keys: u8, check: bool) {
        let wanted = self.keypad.as_ref().map(|keypad| keypad.wanted());
        let Some((wanted, secret)) = wanted.and_then(|it| Some((it, it.secret.as_ref()?))) else {
            return;
        };
        if self.handing.is_some() {
            return;
        }
        desk.timers.cancel(Timer::Keys);
        self.last_sound = at;
        desk.facts.own("check_digit_ok", check.into());
        if secret.checked && !check {
            self.collect_anew(desk);
            return self.on_signal(desk, &SignalKind::Incomplete);
        }
        let ask = Ask {
            kind: Name::new_static(builtin::HAND_OVER),
            object: format_smolstr!("{} to {}", wanted.name, secret.sink),
            ..Ask::default()
        };
        let record = desk.judge(&self.scene(), ask);
        if record.verdict != Verdict::Authorised {
            desk.put(Output::Decided(record));
            self.collect_anew(desk);
            return self.on_signal(desk, &SignalKind::NotTaken);
        }
        let (id, seq) = (record.action, desk.next_seq());
        self.handing = Some(Handing {
            id,
            seq,
            ordered: false,
        });
        let until = desk.after_ms(HAND_OVER_MS);
        desk.timers.set(Timer::HandOver, until);
        desk.put(Output::Persist(Persist {
            seq,
            record,
            actions: Vec::new(),
        }));
    }

    /// That it may go is on disk, or could not be kept. Says whether it was about that.
    pub(super) fn secret_stored(&mut self, desk: &mut Desk, seq: Seq, durable: bool) -> bool {
        let handing = self.handing.as_mut().filter(|it| it.seq == seq);
        let Some(handing) = handing else {
            return false;
        };
        // The answer may come twice; the secret goes once.
        if core::mem::replace(&mut handing.ordered, true) {
            return true;
        }
        let id = handing.id;
        if !durable {
            self.handed_over(desk, false);
            return true;
        }
        let secret = self
            .keypad
            .as_ref()
            .and_then(|it| it.wanted().secret.clone());
        if let Some(secret) = secret {
            desk.command(Command::HandOver {
                sink: secret.sink,
                id,
            });
        }
        true
    }

    /// The sink has it, or it is lost: it is erased here in either case.
    pub(crate) fn handed_over(&mut self, desk: &mut Desk, taken: bool) {
        let Some(handing) = self.handing.take() else {
            return;
        };
        desk.timers.cancel(Timer::HandOver);
        self.confirmations = 0;
        desk.facts.own("confirmations", 0);
        if !taken {
            self.collect_anew(desk);
            return self.on_signal(desk, &SignalKind::NotTaken);
        }
        if let Some(keypad) = &self.keypad {
            // No answer of the person's: it is not remembered beyond the call.
            let name = keypad.wanted().name.as_str().into();
            self.values.insert(name, format_smolstr!("{}", handing.id));
        }
        let now = desk.now;
        self.understood(desk, now, &SignalKind::Collected);
    }

    /// A secret that did not go is erased, and the keys are awaited anew.
    pub(super) fn collect_anew(&self, desk: &mut Desk) {
        let wanted = self.keypad.as_ref().map(|keypad| keypad.wanted());
        if let Some(wanted) = wanted.filter(|it| it.secret.is_some()) {
            desk.command(collect(wanted));
        }
    }
}
