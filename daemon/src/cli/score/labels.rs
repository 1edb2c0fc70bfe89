//! What labels of a manifest mean, and which of them mean nothing here.
//!
//! Spelling is exact: what is not counted is said with what to write instead,
//! so that no figure silently rests on fewer files. Called by `score`.

use std::collections::BTreeMap;

use offhook_dsp::{AnswerClass, ToneKind};

use super::manifest::{Row, Set};
use super::table::{Cell, Table};

/// What a file should be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Human,
    Machine,
    Sit,
    Other,
}

impl Expected {
    pub(super) fn of(row: &Row) -> Self {
        let name = match row.text("label") {
            "early_media" => row.text("subtype"),
            label => label,
        };
        match name {
            "human" => Self::Human,
            "machine" | "voicemail" | "ivr" | "screening" => Self::Machine,
            name if name.starts_with("sit") => Self::Sit,
            _ => Self::Other,
        }
    }

    /// Whether a class does justice to it: menus and assistants are machines too.
    pub(super) fn fits(self, class: AnswerClass) -> bool {
        use AnswerClass as Class;
        match self {
            Self::Human => class == Class::Human,
            Self::Machine => matches!(class, Class::Machine | Class::Ivr | Class::Screening),
            Self::Sit => class == Class::Sit,
            Self::Other => false,
        }
    }
}

/// All that can be named.
const TONES: [ToneKind; 17] = [
    ToneKind::Dial,
    ToneKind::Ringback,
    ToneKind::RingbackUk,
    ToneKind::Busy,
    ToneKind::Reorder,
    ToneKind::Sit,
    ToneKind::SitNc,
    ToneKind::SitIc,
    ToneKind::SitVc,
    ToneKind::SitRo,
    ToneKind::FaxCng,
    ToneKind::FaxCed,
    ToneKind::FaxV21,
    ToneKind::Dtmf,
    ToneKind::CallWaiting,
    ToneKind::Music,
    ToneKind::BellRing,
];

/// Whether a tone is what its label says. `busy_eu` is a busy tone of any plan; the
/// kinds of SIT and of fax are told apart where the label does.
pub(super) fn is_tone(kind: ToneKind, label: &str) -> bool {
    let family = |name: &str| name.split('_').next().unwrap_or_default().to_owned();
    let same_family = family(kind.name()) == family(label);
    match family(label).as_str() {
        "sit" | "fax" if label.contains('_') => kind.name() == label,
        _ => same_family,
    }
}

fn is_known_tone(label: &str) -> bool {
    TONES.iter().any(|kind| is_tone(*kind, label))
}

const LABELS: [&str; 8] = [
    "human",
    "machine",
    "voicemail",
    "ivr",
    "screening",
    "tone",
    "beep",
    "early_media",
];

/// Why a row is in no table of answers and tones: the column, what it says, and what to
/// write instead.
fn uncounted(row: &Row) -> Option<(&'static str, String, String)> {
    let label = row.text("label");
    let because = |column, text: &str, instead: String| Some((column, text.to_owned(), instead));
    if row.set() != Set::Answer {
        return None;
    }
    match label {
        "tone" => {
            let kind = row.text("tone_kind");
            let instead = || instead_of_tone(kind);
            (!is_known_tone(kind)).then(|| ("tone_kind", kind.to_owned(), instead()))
        }
        "early_media" if Expected::of(row) == Expected::Other => because(
            "subtype",
            row.text("subtype"),
            "human, machine, voicemail, ivr, screening or sit".to_owned(),
        ),
        "beep" if row.number("beep_end_s").is_none() => because(
            "beep_end_s",
            row.text("beep_end_s"),
            "seconds at which the beep ends".to_owned(),
        ),
        known if LABELS.contains(&known) => None,
        other => because("label", other, instead_of(other)),
    }
}

fn plain(text: &str) -> String {
    text.trim().to_lowercase().replace([' ', '-'], "_")
}

fn instead_of(label: &str) -> String {
    let plain = plain(label);
    match plain.as_str() {
        known if LABELS.contains(&known) => known.to_owned(),
        "person" | "people" | "live" | "caller" | "agent" | "hello" => "human".to_owned(),
        "answering_machine" | "am" | "vm" | "voice_mail" | "mailbox" | "greeting"
        | "announcement" | "recording" => "machine".to_owned(),
        "menu" | "auto_attendant" => "ivr".to_owned(),
        "screen" | "call_screen" | "assistant" => "screening".to_owned(),
        tone if is_known_tone(tone) => format!("label tone, tone_kind {tone}"),
        "congestion" | "ring" | "ringing" => {
            format!("label tone, tone_kind {}", instead_of_tone(label))
        }
        _ => LABELS.join(", "),
    }
}

fn instead_of_tone(kind: &str) -> String {
    let plain = plain(kind);
    match plain.as_str() {
        tone if is_known_tone(tone) => tone.to_owned(),
        "congestion" | "fast_busy" => "reorder".to_owned(),
        "ring" | "ringing" => "ringback".to_owned(),
        "cng" | "ced" | "v21" => format!("fax_{plain}"),
        "nc" | "ic" | "vc" | "ro" => format!("sit_{plain}"),
        _ => TONES.map(ToneKind::name).join(", "),
    }
}

/// Labels that no table counts.
pub(super) fn unknown<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Option<Table> {
    let mut found: BTreeMap<(&'static str, String, String), usize> = BTreeMap::new();
    for row in rows {
        if let Some(why) = uncounted(row) {
            *found.entry(why).or_default() += 1;
        }
    }
    let columns = ["column", "says", "rows", "write instead"];
    let mut table = Table::new("labels that are not counted", &columns);
    for ((column, says, instead), rows) in found {
        table.push(vec![
            Cell::text(column),
            Cell::text(says),
            Cell::Number(Some(rows as f64), 0),
            Cell::text(instead),
        ]);
    }
    table.if_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::score::manifest;

    #[test]
    fn the_kind_of_sit_counts_where_the_label_names_one() {
        let rows = [
            (ToneKind::SitNc, "sit_nc", true),
            (ToneKind::SitIc, "sit_nc", false),
            (ToneKind::Sit, "sit_nc", false),
            (ToneKind::SitIc, "sit", true),
            (ToneKind::Busy, "busy_eu", true),
            (ToneKind::Reorder, "busy_eu", false),
            (ToneKind::RingbackUk, "ringback_au", true),
            (ToneKind::FaxCng, "fax_ced", false),
            (ToneKind::FaxCng, "fax", true),
        ];
        for (kind, label, fits) in rows {
            assert_eq!(is_tone(kind, label), fits, "{kind:?} {label}");
        }
    }

    #[test]
    fn labels_that_no_table_counts_are_named_with_what_to_write() {
        let text = "file,label,subtype,tone_kind,beep_end_s\n\
                    a,Human,,,\nb,Human,,,\nc,busy,,,\nd,fax,,,\ne,human,,,\nf,tone,,CNG,\n\
                    g,tone,,busy_us,\nh,early_media,tts,,\ni,beep,,,\nj,nonsense,,,\nk,,,,\n";
        let rows = manifest::rows_of(text);
        let table = unknown(&rows).expect("some are wrong");
        let json = table.to_json();
        let rows = json["rows"].as_array().expect("rows");
        let told: Vec<String> = rows
            .iter()
            .map(|row| {
                let text = |name: &str| row[name].as_str().expect("text").to_owned();
                let count = row["rows"].as_f64().expect("a count");
                format!(
                    "{} {} {count}: {}",
                    text("column"),
                    text("says"),
                    text("write instead")
                )
            })
            .collect();
        assert_eq!(told.len(), 7, "{told:?}");
        for expected in [
            "label Human 2: human",
            "label busy 1: label tone, tone_kind busy",
            "label fax 1: label tone, tone_kind fax",
            "tone_kind CNG 1: fax_cng",
            "subtype tts 1: human, machine",
            "beep_end_s  1: seconds",
            "label nonsense 1: human, machine, voicemail",
        ] {
            assert!(told.iter().any(|it| it.starts_with(expected)), "{told:?}");
        }
    }
}
