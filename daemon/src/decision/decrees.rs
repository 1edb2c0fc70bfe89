//! What people say to the box while it runs: approvals of actions that may not
//! go by themselves.

use offhook_core::output::Approval;
use offhook_core::{ActionId, ConversationId, Event};

use super::Decision;
use crate::clock;
use crate::control::Failure;
use crate::timeline::Line;

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
}
