//! The life of an objection: raised, softened, answered, resolved, reopened.
//!
//! It knows which answer is due and that a resolved point is never answered
//! again; `dialogue` says the words.

/// What a caller objects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// It costs too much.
    Price,
    /// It is the wrong time.
    Timing,
    /// Who are you, is that safe.
    Trust,
    /// It is not needed.
    Need,
}

impl Doubt {
    /// All, in the order of their lives.
    pub const ALL: [Self; 4] = [Self::Price, Self::Timing, Self::Trust, Self::Need];

    /// The fact that says where it stands.
    pub const fn fact(self) -> &'static str {
        match self {
            Self::Price => "objection_price",
            Self::Timing => "objection_timing",
            Self::Trust => "objection_trust",
            Self::Need => "objection_need",
        }
    }

    /// Its name in playbooks.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Timing => "timing",
            Self::Trust => "trust",
            Self::Need => "need",
        }
    }
}

/// Where an objection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// Nobody has objected.
    #[default]
    Unheard,
    /// The caller objects, and waits for our answer.
    Raised,
    /// Our answer was heard to its end.
    Answered,
    /// The caller has come half way, or has moved on to something else.
    Softened,
    /// The caller has agreed since.
    Resolved,
    /// It was resolved and has come up again.
    Reopened,
}

impl Life {
    /// The public name, as it is remembered.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unheard => "unheard",
            Self::Raised => "raised",
            Self::Answered => "answered",
            Self::Softened => "softened",
            Self::Resolved => "resolved",
            Self::Reopened => "reopened",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Objection {
    life: Life,
    /// Answers begun; each is given once.
    given: usize,
}

/// All objections of a conversation.
#[derive(Debug, Default)]
pub(crate) struct Objections {
    of: [Objection; Doubt::ALL.len()],
}

impl Objections {
    /// The caller objects. What was answered before counts as moved on from when
    /// it is about something else. Gives which answer is due, from 0.
    pub(crate) fn raise(&mut self, topic: Doubt) -> usize {
        for other in Doubt::ALL.into_iter().filter(|other| *other != topic) {
            let life = &mut self.of[other as usize].life;
            if matches!(life, Life::Raised | Life::Answered | Life::Reopened) {
                *life = Life::Softened;
            }
        }
        let objection = &mut self.of[topic as usize];
        objection.life = match objection.life {
            Life::Resolved | Life::Reopened => Life::Reopened,
            Life::Unheard | Life::Raised | Life::Answered | Life::Softened => Life::Raised,
        };
        objection.given
    }

    /// An answer begins to be said: it is not said a second time.
    pub(crate) fn begin(&mut self, topic: Doubt) {
        let given = &mut self.of[topic as usize].given;
        *given = given.saturating_add(1);
    }

    /// The answer was heard to its end.
    pub(crate) fn answered(&mut self, topic: Doubt) {
        let life = &mut self.of[topic as usize].life;
        if matches!(life, Life::Raised | Life::Reopened) {
            *life = Life::Answered;
        }
    }

    /// The caller comes half way.
    pub(crate) fn soften(&mut self) {
        self.turn_open(Life::Softened);
    }

    /// The caller agrees to what we ask: whatever stood against it is resolved.
    pub(crate) fn resolve(&mut self) {
        self.turn_open(Life::Resolved);
    }

    pub(crate) fn life(&self, topic: Doubt) -> Life {
        self.of[topic as usize].life
    }

    /// Objections that wait for an answer.
    pub(crate) fn open(&self) -> i64 {
        let waits = |it: &&Objection| matches!(it.life, Life::Raised | Life::Reopened);
        self.of.iter().filter(waits).count() as i64
    }

    fn turn_open(&mut self, into: Life) {
        for Objection { life, .. } in &mut self.of {
            if !matches!(life, Life::Unheard | Life::Resolved) {
                *life = into;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(objections: &mut Objections, topic: Doubt) -> usize {
        let due = objections.raise(topic);
        objections.begin(topic);
        objections.answered(topic);
        due
    }

    #[test]
    fn no_answer_is_given_twice_and_a_resolved_point_reopens_with_the_next() {
        let mut objections = Objections::default();
        assert_eq!(answer(&mut objections, Doubt::Price), 0);
        assert_eq!(objections.life(Doubt::Price), Life::Answered);
        objections.resolve();
        assert_eq!(objections.life(Doubt::Price), Life::Resolved);
        assert_eq!(objections.raise(Doubt::Price), 1);
        assert_eq!(objections.life(Doubt::Price), Life::Reopened);
        assert_eq!(objections.open(), 1);
    }

    #[test]
    fn who_moves_on_to_another_point_has_softened_on_the_first() {
        let mut objections = Objections::default();
        answer(&mut objections, Doubt::Price);
        assert_eq!(objections.raise(Doubt::Timing), 0);
        assert_eq!(objections.life(Doubt::Price), Life::Softened);
        objections.resolve();
        assert_eq!(objections.life(Doubt::Price), Life::Resolved);
        assert_eq!(objections.life(Doubt::Trust), Life::Unheard);
    }

    #[test]
    fn an_answer_that_was_cut_leaves_the_objection_open() {
        let mut objections = Objections::default();
        objections.raise(Doubt::Need);
        objections.begin(Doubt::Need);
        assert_eq!((objections.open(), objections.raise(Doubt::Need)), (1, 1));
    }
}
