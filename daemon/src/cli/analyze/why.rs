//! `offhook analyze --explain`: a verdict's evidence as a sentence.
//!
//! Called by `analyze`.

use offhook_dsp::{Evidence, Rule, ToneKind};

/// Why this was the verdict.
pub(super) fn sentence(evidence: &Evidence) -> String {
    let span = seconds(evidence.span_ms);
    let pause = seconds(evidence.pause_ms);
    match evidence.rule {
        Rule::TurnThenPause => {
            format!("spoke for {span} and then waited for {pause}, as a person does")
        }
        Rule::LongTurn => format!(
            "spoke for {span} with no pause longer than {}, as a recording does",
            seconds(evidence.longest_pause_ms)
        ),
        Rule::WentOn => format!("went on for {span} though nobody replied, as a recording does"),
        Rule::NoBeep => format!("stopped after {span}; no beep came in {pause}"),
        Rule::Tone => format!(
            "sounded the tone {}",
            evidence.tone.map_or("unknown", ToneKind::name)
        ),
        Rule::Beep => format!(
            "spoke for {span} and then gave a beep of {} Hz",
            evidence.beep_hz.unwrap_or_default()
        ),
        Rule::Phrase => format!(
            "said {} words, among them those of a {}",
            evidence.words,
            evidence.phrase.map_or("person", |phrase| phrase.name())
        ),
        Rule::NoSound => format!("was silent for {}", seconds(evidence.quiet_ms)),
        Rule::Undecided => format!(
            "spoke for {}, last {pause} ago: neither a person's answer nor a recording",
            seconds(evidence.spoken_ms)
        ),
    }
}

fn seconds(ms: u32) -> String {
    format!("{:.2} s", f64::from(ms) / 1_000.0)
}
