//! Leads as the daemon keeps them: found by number, kept as pages, merged and forgotten;
//! property tests over random histories.

use super::*;
use offhook_core::number::{Country, Numbering};
use proptest::prelude::*;

const START: Duration = Duration::from_secs(20_000 * 86_400);

fn number(text: &str) -> Number {
    Number::parse(text).unwrap()
}

fn german() -> Numbering {
    Numbering {
        country: Country::find("DE"),
        ..Numbering::default()
    }
}

fn record(line: u64, fields: &[(&str, &str)]) -> Record {
    let fields = fields
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    Record {
        line,
        fields: fields.collect(),
    }
}

fn value(leads: &Leads, name: &str, to: &str, wall: Duration) -> Option<i64> {
    let lead = leads.find(to).first().copied();
    let facts = leads.facts(to, lead, wall);
    facts
        .iter()
        .find(|fact| fact.name == name)
        .and_then(|fact| fact.value)
}

fn learned(at: u64, name: &str, value: &str, call: u64) -> Chapter {
    let source = Source::Call(ConversationId(call));
    Chapter::Learned(Transition::new(
        Topic::Answer,
        name,
        Some(value),
        at,
        source,
    ))
}

#[test]
fn a_contact_counts_for_a_day() {
    let mut leads = Leads::default();
    leads.contacted("+1", START);
    leads.contacted("+1", START + DAY / 2);
    leads.contacted("+2", START);
    assert_eq!(
        value(&leads, "contacts_24h", "+1", START + DAY / 2),
        Some(2)
    );
    assert_eq!(value(&leads, "contacts_24h", "+1", START + DAY), Some(1));
    assert_eq!(
        value(&leads, "contacts_24h", "+1", START + DAY * 2),
        Some(0)
    );
    let minutes = value(&leads, "last_contact_min", "+2", START + DAY);
    assert_eq!(minutes, Some(24 * 60));
}

#[test]
fn an_opt_out_is_not_forgotten_and_holds_for_every_number_of_the_person() {
    let mut leads = Leads::default();
    let (lead, _, _) = leads.meet(
        Some(&number("+4930111111")),
        Attestation::Unknown,
        ConversationId(1),
        LeadId(9),
    );
    leads.write(
        lead,
        [Chapter::Known(Handle::Number(number("+4930222222")))],
    );
    assert_eq!(value(&leads, "do_not_call", "+4930222222", START), Some(0));
    leads.opt_out("+4930111111");
    assert_eq!(
        value(&leads, "do_not_call", "+4930222222", START + DAY * 400),
        Some(1)
    );
    // A number that is no E.164 number can opt out as well.
    leads.opt_out("217");
    assert_eq!(value(&leads, "do_not_call", "217", START), Some(1));
}

#[test]
fn attempts_count_for_the_person_whatever_number_they_were_to() {
    let mut leads = Leads::default();
    let fields = [("number", "030 111111"), ("id", "crm:1")];
    leads
        .import(&record(1, &fields), &german(), LeadId(9), START)
        .unwrap();
    let fields = [("number", "030 222222"), ("id", "crm:1")];
    leads
        .import(&record(2, &fields), &german(), LeadId(10), START)
        .unwrap();
    leads.contacted("+4930111111", START);
    leads.contacted("+4930222222", START);
    assert_eq!(value(&leads, "contacts_24h", "+4930222222", START), Some(2));
}

#[test]
fn nobody_is_assumed_behind_no_number_or_a_forged_one() {
    let mut leads = Leads::default();
    let known = number("+4930111111");
    let meet = |leads: &mut Leads, number: Option<&Number>, attestation, fresh| {
        let (lead, identity, _) =
            leads.meet(number, attestation, ConversationId(fresh), LeadId(fresh));
        (lead.0, identity)
    };
    let unknown = Attestation::Unknown;
    assert_eq!(
        meet(&mut leads, Some(&known), unknown, 1),
        (1, Identity::Number)
    );
    assert_eq!(
        meet(&mut leads, Some(&known), unknown, 2),
        (1, Identity::Number)
    );
    assert_eq!(meet(&mut leads, None, unknown, 3), (3, Identity::None));
    let forged = Attestation::Failed;
    assert_eq!(
        meet(&mut leads, Some(&known), forged, 4),
        (4, Identity::None)
    );
}

#[test]
fn a_wrong_person_splits_the_lead_and_loses_nothing() {
    let mut leads = Leads::default();
    let shared = number("+4930111111");
    let call = ConversationId(1);
    let (first, _, _) = leads.meet(Some(&shared), Attestation::Unknown, call, LeadId(1));
    leads.write(first, [learned(10, "slot", "tuesday", 1)]);
    leads.meet(
        Some(&shared),
        Attestation::Unknown,
        ConversationId(2),
        LeadId(2),
    );
    // In the second call somebody else answers, after a word of theirs was noted.
    leads.write(first, [learned(20, "slot", "friday", 2)]);
    let before = leads.view(first, START).unwrap().history;
    leads.split(first, LeadId(3), ConversationId(2), START);
    let (first, other) = (
        leads.view(first, START).unwrap(),
        leads.view(LeadId(3), START).unwrap(),
    );
    assert!(before.iter().all(|known| first.history.contains(known)));
    let slot = |view: &LeadView| view.holding[0].value.clone();
    assert_eq!(slot(&first).as_deref(), Some("tuesday"));
    assert_eq!(slot(&other).as_deref(), Some("friday"));
    // From now on the number says that somebody is there, not who.
    let (next, identity, _) = leads.meet(
        Some(&shared),
        Attestation::Unknown,
        ConversationId(4),
        LeadId(4),
    );
    assert_eq!((next, identity), (LeadId(4), Identity::Number));
}

#[test]
fn importing_again_adds_nothing() {
    let mut leads = Leads::default();
    let row = record(
        2,
        &[
            ("number", "030 111111"),
            ("id", "crm:1"),
            ("name", "Ada"),
            ("slot", "tuesday"),
            ("preference.time", "morning"),
            ("consent", "web form"),
            ("opt_out", "no"),
        ],
    );
    let (imported, pages) = leads.import(&row, &german(), LeadId(9), START).unwrap();
    assert_eq!((imported, pages.len()), (Imported::New, 6));
    let (imported, pages) = leads
        .import(&row, &german(), LeadId(10), START + DAY)
        .unwrap();
    assert_eq!((imported, pages.len()), (Imported::Unchanged, 0));
    assert_eq!(leads.consent_of(LeadId(9)), 2);
    assert_eq!(leads.find("crm:1"), [LeadId(9)]);
}

#[test]
fn a_row_that_knows_number_and_id_merges_the_two() {
    let mut leads = Leads::default();
    let mut import = |line, fields: &[(&str, &str)]| {
        leads
            .import(&record(line, fields), &german(), LeadId(line), START)
            .map(|(what, _)| what)
    };
    assert_eq!(
        import(1, &[("number", "030111111"), ("slot", "friday")]),
        Ok(Imported::New)
    );
    assert_eq!(
        import(2, &[("id", "crm:1"), ("name", "Ada")]),
        Ok(Imported::New)
    );
    let both = [("number", "030111111"), ("id", "crm:1")];
    assert_eq!(import(3, &both), Ok(Imported::Merged));
    assert_eq!(import(4, &both), Ok(Imported::Unchanged));
    assert_eq!(leads.count(), 1);
    let view = leads.view(leads.find("crm:1")[0], START).unwrap();
    assert_eq!(view.holding.len(), 2);
    // The old id still leads there.
    let old: Vec<LeadId> = [1, 2]
        .into_iter()
        .flat_map(|id| leads.find(&LeadId(id).to_string()))
        .collect();
    assert_eq!(old[0], old[1]);
}

#[test]
fn a_bad_row_is_named_with_line_and_reason() {
    let mut leads = Leads::default();
    let long = "x".repeat(600);
    for (fields, needle) in [
        (&[("name", "Ada")][..], "names nobody"),
        (&[("number", "30111111")], "no telephone number"),
        (
            &[("number", "+4930111111"), ("mood.x", "1")],
            "no topic `mood`",
        ),
        (
            &[("number", "+4930111111"), ("preference.", "1")],
            "is no name",
        ),
        (
            &[("number", "+4930111111"), ("slot", long.as_str())],
            "longer than",
        ),
        (&[("id", "a\u{7}")], "control characters"),
    ] {
        let rejected = leads
            .import(&record(7, fields), &german(), LeadId(1), START)
            .unwrap_err();
        assert_eq!(rejected.line, 7);
        assert!(rejected.reason.contains(needle), "{}", rejected.reason);
    }
    assert_eq!(leads.count(), 0, "nothing of a bad row is taken");
}

#[test]
fn what_is_forgotten_is_gone_but_its_opt_out_stays() {
    let mut leads = Leads::default();
    let fields = [
        ("number", "+4930111111"),
        ("opt_out", "yes"),
        ("name", "Ada"),
    ];
    leads
        .import(&record(1, &fields), &german(), LeadId(9), START)
        .unwrap();
    let remains = leads.remains(LeadId(9));
    assert_eq!(remains.leads, [LeadId(9)]);
    assert_eq!(remains.suppressed, ["+4930111111"]);
    leads.forget(LeadId(9));
    assert_eq!(leads.count(), 0);
    let page = Page {
        lead: LeadId(0),
        chapter: Chapter::Suppressed("+4930111111".into()),
    };
    leads.apply(&page);
    assert_eq!(value(&leads, "do_not_call", "+4930111111", START), Some(1));
}

#[test]
fn readiness_rests_on_what_is_on_record() {
    let mut leads = Leads::default();
    let lead = LeadId(1);
    let source = Source::Call(ConversationId(1));
    let mut is = |topic, source: &Source, level| {
        let page = Transition::new(topic, "x", Some("y"), level, source.clone());
        leads.write(lead, [Chapter::Learned(page)]);
        assert_eq!(leads.readiness_of(lead), level.cast_signed(), "{topic:?}");
    };
    is(Topic::Contact, &source, 0);
    is(Topic::Constraint, &Source::Import, 0);
    is(Topic::Answer, &source, 1);
    is(Topic::Partial, &source, 2);
    is(Topic::Commitment, &source, 3);
}

fn chapter() -> impl Strategy<Value = (u64, Chapter)> {
    let handle = (0u8..4).prop_map(|n| Handle::Number(number(&format!("+493011111{n}"))));
    let chapter = prop_oneof![
        handle.prop_map(Chapter::Known),
        (0u64..100, 0u8..3, 0u8..3, 1u64..4).prop_map(|(at, name, value, call)| learned(
            at,
            &name.to_string(),
            &value.to_string(),
            call
        )),
        (1u64..6).prop_map(|id| Chapter::Talked(ConversationId(id))),
        (1u64..6).prop_map(|id| Chapter::Merged(LeadId(id))),
        (1u64..6, 1u64..4).prop_map(|(from, call)| Chapter::Split {
            from: LeadId(from),
            conversation: ConversationId(call)
        }),
    ];
    (1u64..6, chapter)
}

proptest! {
    #[test]
    fn the_kept_pages_alone_make_the_same_leads_again(
        chapters in prop::collection::vec(chapter(), 0..60),
    ) {
        let mut live = Leads::default();
        let mut kept = Vec::new();
        for (lead, chapter) in chapters {
            kept.extend(live.write(LeadId(lead), [chapter]));
        }
        let mut again = Leads::default();
        for page in &kept {
            prop_assert!(again.apply(page), "what was news is news again: {page:?}");
        }
        let views = |leads: &Leads| -> Vec<_> {
            leads.people.keys().map(|lead| leads.view(*lead, START)).collect()
        };
        prop_assert_eq!(views(&live), views(&again));
        prop_assert_eq!(live.handles, again.handles);
    }
}
