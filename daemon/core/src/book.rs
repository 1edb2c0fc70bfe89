//! What a conversation goes by: a program, the policy, the action catalogue.

use std::sync::Arc;

use crate::action::Catalogue;
use crate::playbook::Playbook;
use crate::policy::Policy;

/// Shared by all conversations of a route; replaced whole, never changed.
#[derive(Clone, Debug)]
pub struct Book {
    /// What drives the conversation.
    pub program: Program,
    /// What the gate goes by.
    pub policy: Arc<Policy>,
    /// What can be proposed.
    pub catalogue: Arc<Catalogue>,
}

/// What drives a conversation.
#[derive(Clone, Debug)]
pub enum Program {
    /// A dialogue.
    Playbook(Arc<Playbook>),
    /// A test destination for field techs: no dialogue, no proposals.
    Test(TestLine),
}

/// What a test destination does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestLine {
    /// Answers and returns the caller's audio.
    Echo,
    /// Answers and sends a test tone.
    Tone,
    /// Rings and is never answered.
    Ring,
    /// Is busy.
    Busy,
}
