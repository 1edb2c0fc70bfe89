//! Whether the caller has the word, and whether the last words are understood.
//! Between an interruption and its understanding nothing is authorised.

/// Who has the word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// Nobody speaks, and all that was said is understood.
    #[default]
    Open,
    /// The caller speaks.
    Speaking(Onset),
    /// The caller has spoken, and may go on; the words may still come.
    AwaitingWords(Onset),
}

/// How it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Onset {
    /// Over a prompt of ours.
    pub(crate) interrupting: bool,
    /// In this stay in a stage.
    pub(crate) epoch: u32,
}

impl Hearing {
    pub(crate) fn is_open(self) -> bool {
        self == Self::Open
    }

    pub(crate) fn is_interrupted(self) -> bool {
        match self {
            Self::Open => false,
            Self::Speaking(onset) | Self::AwaitingWords(onset) => onset.interrupting,
        }
    }

    /// The caller begins to speak; an interruption stays one.
    pub(crate) fn onset(&mut self, interrupting: bool, epoch: u32) {
        let interrupting = interrupting || self.is_interrupted();
        *self = Self::Speaking(Onset {
            interrupting,
            epoch,
        });
    }

    /// The caller has ended; true when words are now awaited.
    pub(crate) fn ended(&mut self) -> bool {
        match *self {
            Self::Speaking(onset) => {
                *self = Self::AwaitingWords(onset);
                true
            }
            Self::Open | Self::AwaitingWords(_) => false,
        }
    }

    /// Understood, or given up: gives how it had begun.
    pub(crate) fn close(&mut self) -> Option<Onset> {
        match core::mem::take(self) {
            Self::Open => None,
            Self::Speaking(onset) | Self::AwaitingWords(onset) => Some(onset),
        }
    }
}
