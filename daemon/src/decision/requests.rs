//! What the command line asks for. A reply that nobody waits for any more is no error.

use offhook_core::input::Originate;
use offhook_core::{ConversationId, Event};

use super::people::number_of;
use super::{Decision, FIRST};
use crate::clock;
use crate::control::{Failure, Live, Order, Request};
use crate::media::Full;
use crate::timeline::Line;

impl Decision {
    pub(super) fn serve(&mut self, request: Request) {
        // A reply that nobody waits for any more is no error.
        match request {
            Request::Live(reply) => {
                let _ = reply.send(self.live());
            }
            Request::Originate(order, reply) => {
                let _ = reply.send(self.order(order));
            }
            Request::Approvals(reply) => {
                let _ = reply.send(self.waiting());
            }
            Request::Approve(action, verdict, reply) => {
                let _ = reply.send(self.approve(action, verdict.approve, verdict.by));
            }
            Request::Campaign(request) => self.serve_campaign(request),
            Request::Lead(request) => self.serve_lead(request),
            Request::Standing(reply) => {
                let _ = reply.send(self.standing_now());
            }
            Request::Decree(decree, reply) => {
                let _ = reply.send(self.decree(*decree));
            }
            Request::Govern(governing, rules, by, reply) => {
                self.go_by(*rules);
                let _ = reply.send(self.govern(governing, &by));
            }
            Request::HangUp(id, reply) => {
                let lives = self.calls.get(&id).is_some_and(|call| !call.over);
                if lives {
                    self.feed(id, clock::now(), Event::OperatorHangup);
                }
                let _ = reply.send(lives);
            }
            Request::Listen(id, reply) => {
                let hearing = self.board.listen((id, FIRST)).map_err(no_sound);
                if hearing.is_ok() {
                    self.note_of_operator(id, "operator_listens");
                }
                let _ = reply.send(hearing);
            }
            Request::Speak(id, reply) => {
                let speech = self.board.speak((id, FIRST)).map_err(no_sound);
                if speech.is_ok() {
                    self.note_of_operator(id, "operator_speaks");
                }
                let _ = reply.send(speech);
            }
        }
    }

    /// Who looks into a call leaves a trace in it.
    fn note_of_operator(&mut self, id: ConversationId, what: &str) {
        tracing::info!(message = "operator", CALL_ID = %id, what);
        self.note(id, clock::now(), Line::action(what, ""));
    }

    pub(super) fn order(&mut self, mut order: Order) -> Result<ConversationId, Failure> {
        if self.stopping {
            return Err(Failure::new("the daemon is going down"));
        }
        let (book, trunk) = self.house.outbound(&order).map_err(Failure::new)?;
        let numbering = self.house.settings.trunk(&trunk).map(|it| &it.numbering);
        let number = number_of(numbering, &order.to);
        if let Some(number) = &number {
            order.to = number.as_str().to_owned();
        }
        if let Err(cause) = self.house.trunks.can_call(&trunk, &order.to) {
            let reason = format!(
                "`{}` cannot be called by trunk `{trunk}`: {}",
                order.to,
                cause.name()
            );
            return Err(Failure::new(reason));
        }
        let by = match &order.consent {
            Some(basis) => format!("operator; consent: {basis}"),
            None => "operator".to_owned(),
        };
        let originate = Originate {
            to: order.to,
            trunk,
            by,
        };
        Ok(self.originate(
            originate,
            number.as_ref(),
            order.consent.as_deref(),
            &book,
            None,
        ))
    }

    pub(super) fn live(&self) -> Live {
        let calls = self
            .calls
            .values()
            .filter(|call| !call.over)
            .map(|call| call.live())
            .collect();
        Live {
            calls,
            media: self.board.media_counts(),
            not_recording: self.board.not_recording(),
            broken: self.house.broken.clone(),
            counters: self.house.counters(),
        }
    }
}

fn no_sound(full: Full) -> Failure {
    Failure::new(match full {
        Full::Gone => "the call has no sound: it is not answered, or over".to_owned(),
        full => full.to_string(),
    })
}
