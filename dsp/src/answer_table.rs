//! The limits of the answer rule by sensitivity. Made by `dsp/train/answer.py`.

/// When speech and pause tell who answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Span of speech below which a pause tells a person, and that pause, ms.
    pub(crate) pauses: [(u32, u32); 3],
    /// Span of speech that tells a recording, ms.
    pub(crate) machine_ms: u32,
    /// Time since the answer before which none is told, ms.
    pub(crate) earliest_ms: u32,
}

impl Limits {
    /// The pause that tells a person after speech of this span, both in ms.
    pub(crate) fn pause_ms(&self, span_ms: u64) -> u32 {
        let row = self.pauses.iter().find(|row| span_ms < u64::from(row.0));
        row.map_or(u32::MAX, |row| row.1)
    }
}

const END: u32 = u32::MAX;

/// From 0, which never loses a person, to 6, which never talks to a recording.
pub(crate) const SENSITIVITIES: [Limits; 7] = [
    Limits {
        pauses: [(900, 500), (1_800, 700), (END, 900)],
        machine_ms: 5_000,
        earliest_ms: 0,
    },
    Limits {
        pauses: [(900, 500), (1_800, 700), (END, 900)],
        machine_ms: 3_500,
        earliest_ms: 0,
    },
    Limits {
        pauses: [(900, 500), (1_800, 700), (END, 900)],
        machine_ms: 2_600,
        earliest_ms: 3_200,
    },
    Limits {
        pauses: [(900, 500), (1_800, 700), (END, 900)],
        machine_ms: 2_000,
        earliest_ms: 2_800,
    },
    Limits {
        pauses: [(900, 500), (1_800, 600), (END, 900)],
        machine_ms: 1_300,
        earliest_ms: 2_350,
    },
    Limits {
        pauses: [(900, 500), (1_800, 600), (END, 900)],
        machine_ms: 1_300,
        earliest_ms: 2_000,
    },
    Limits {
        pauses: [(900, 500), (1_800, 700), (END, 900)],
        machine_ms: 1_100,
        earliest_ms: 0,
    },
];
