//! Bad files: every fault is found at once, at its place, with what to write instead.

mod common;

use offhook_core::{Catalogue, Fault, Playbook, Policy, RawActions, RawPlaybook, RawPolicy};

/// `text it is about | key | reason`, in the order of the text.
fn lines(text: &str, faults: Vec<Fault>) -> Vec<String> {
    faults
        .into_iter()
        .map(|it| format!("{} | {} | {}", &text[it.start..it.end], it.key, it.reason))
        .collect()
}

fn check(name: &str, found: &[String], expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{name}: {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{name}: {found}\nnot: {expected}");
    }
}

fn policy_faults(text: &str) -> Vec<String> {
    let raw: RawPolicy = toml::from_str(text).unwrap();
    lines(
        text,
        Policy::compile(&raw, &common::catalogue()).expect_err("faults"),
    )
}

fn action_faults(text: &str) -> Vec<String> {
    let raw: RawActions = toml::from_str(text).unwrap();
    lines(text, Catalogue::compile(&raw).expect_err("faults"))
}

fn playbook_faults(text: &str) -> Vec<String> {
    let raw: RawPlaybook = toml::from_str(text).unwrap();
    lines(
        text,
        Playbook::compile(&raw, &common::catalogue()).expect_err("faults"),
    )
}

#[test]
fn every_fault_of_a_policy_is_named_with_its_remedy() {
    let rule = |lines: &str| {
        format!(
            "name = 'p'\n[[rule]]\nid = 'r'\nactions = ['schedule']\nwhy = 'because'\n{lines}\n"
        )
    };
    let rows: [(&str, String, &[&str]); 11] = [
        (
            "unknown fact",
            rule("deny_any = ['contcts_24h >= 3']"),
            &["'contcts_24h >= 3' | rule.r.deny_any | unknown fact `contcts_24h`; did you mean `contacts_24h`?"],
        ),
        (
            "no comparison",
            rule("deny_any = ['contacts_24h = 3']"),
            &["compares nothing; write e.g. `contacts_24h >= 3`"],
        ),
        (
            "a number wanted",
            rule("require_all = [\"contacts_24h == 'three'\"]"),
            &["`contacts_24h` is a number; write an integer instead of 'three'"],
        ),
        (
            "two faults at once",
            rule("deny_any = ['moon == 1']\nrequire_all = ['intent > 0.5']"),
            &["unknown fact `moon`", "`0.5` is no value; write an integer"],
        ),
        (
            "can never deny",
            rule(""),
            &["'r' | rule.r.deny_any | the rule can never deny; write `deny_any` or `require_all`"],
        ),
        (
            "unknown action",
            "name = 'p'\n[[grant]]\nrole = 'booking'\nactions = ['shedule']".to_owned(),
            &["'shedule' | grant.booking.actions | unknown action `shedule`; did you mean `schedule`?"],
        ),
        (
            "no action at all",
            "name = 'p'\n[[rule]]\nid = 'r'\nactions = []\nrequire_all = ['store_ok == 1']\nwhy = 'x'"
                .to_owned(),
            &["the rule applies to no action"],
        ),
        (
            "no reason",
            "name = 'p'\n[[rule]]\nid = 'r'\nactions = ['say']\nrequire_all = ['store_ok == 1']\nwhy = ' '"
                .to_owned(),
            &["' ' | rule.r.why | say in a sentence why the rule denies"],
        ),
        (
            "the same id twice",
            format!(
                "{}{}",
                rule("require_all = ['store_ok == 1']"),
                "[[rule]]\nid = 'r'\nactions = ['say']\nrequire_all = ['store_ok == 1']\nwhy = 'x'"
            ),
            &["`r` is used twice; a rule id is unique"],
        ),
        (
            "a golden case that fails",
            format!(
                "{}[[case]]\nname = 'c'\naction = 'schedule'\nrole = 'booking'\nexpect = 'authorised'",
                rule("require_all = ['store_ok == 1']")
            ),
            &["'authorised' | case.c.expect | the case fails: refused by role.authority, fact.missing:store_ok"],
        ),
        (
            "a golden case that is refused by other rules",
            format!(
                "{}[[case]]\nname = 'c'\naction = 'schedule'\nrole = 'booking'\ngiven = {{ store_ok = 1, wheather = 1 }}\nexpect = 'refused'\nby = ['r']",
                rule("require_all = ['store_ok == 1']")
            ),
            &[
                "1 | case.c.given | unknown fact `wheather`",
                "the case fails: refused by role.authority",
            ],
        ),
    ];
    for (name, text, expected) in rows {
        check(name, &policy_faults(&text), expected);
    }
}

#[test]
fn every_fault_of_an_action_is_named_with_its_remedy() {
    let text = "
[[action]]
type = 'Send Mail'
effect = 'upstrem'
confirm = 'maybe'
dedupe = ['adress']
field = [{ name = 'address', type = 'phon' }]
[[action]]
type = 'say'
";
    check(
        "actions",
        &action_faults(text),
        &[
            "'Send Mail' | action.type | `Send Mail` is no name; use a-z, 0-9 and _",
            "'upstrem' | action.Send Mail.effect | unknown `upstrem`; did you mean `upstream`?",
            "unknown `maybe`; expected one of `durable`, `accepted`",
            "'adress' | action.Send Mail.dedupe | no field `adress`; did you mean `address`?",
            "'phon' | action.Send Mail.field | unknown `phon`; did you mean `phone`?",
            "'say' | action.type | `say` is defined twice or built in",
        ],
    );
}

/// A sound playbook, to be spoilt.
const SOUND: &str = "
name = 'p'
language = 'en'
start = 'ask'
[prompts]
ask = 'Well?'
yes_a = 'A it is.'
bye = 'Goodbye.'
told = 'Told.'
[phrases.confirm]
any = ['yes']
[[stage]]
name = 'ask'
role = 'booking'
say = ['ask']
[[stage.on]]
when = ['1', 'confirm']
set = { letter = 'a' }
say = ['yes_{letter}']
go = 'bye'
[[stage.on]]
when = ['silence']
go = 'bye'
[[stage]]
name = 'bye'
role = 'booking'
say = ['bye']
end = true
";

const SILENCE: &str = "[[stage.on]]\nwhen = ['silence']\ngo = 'bye'\n";

const PROPOSE: &str = "propose = { action = 'schedule', fields = { slot = '{letter}' }, say_on_durable = ['told'], say_on_refused = ['told'], say_on_failed = ['told'], go_on_durable = 'bye' }";

#[test]
fn the_sound_playbook_is_sound() {
    let proposing = SOUND.replacen("go = 'bye'", PROPOSE, 1);
    for text in [SOUND, &proposing] {
        let raw: RawPlaybook = toml::from_str(text).unwrap();
        common::sound(text, Playbook::compile(&raw, &common::catalogue()));
    }
}

#[test]
fn every_fault_of_a_playbook_is_named_with_its_remedy() {
    let spoilt = |old: &str, new: &str| {
        assert!(SOUND.contains(old), "{old}");
        SOUND.replacen(old, new, 1)
    };
    let proposing = |old: &str, new: &str| {
        assert!(PROPOSE.contains(old), "{old}");
        spoilt("go = 'bye'", &PROPOSE.replacen(old, new, 1))
    };
    let instead_of_silence =
        |new: &str| spoilt("[[stage.on]]\nwhen = ['silence']\ngo = 'bye'\n", new);
    let before_silence = |new: &str| instead_of_silence(&format!("{new}{SILENCE}"));
    let rows: &[(String, &[&str])] = &[
        // A signal that nothing emits.
        (
            before_silence("[[stage.on]]\nwhen = ['elapsed']\nsay = ['told']\n"),
            &["'elapsed' | stage.ask.on.when | no time is set here; write `elapsed_ms`"],
        ),
        (
            before_silence("[[stage.on]]\nwhen = ['ready']\nsay = ['told']\n"),
            &["nothing is evidence of intent; write `[evidence]` or an `intent`"],
        ),
        (
            before_silence("[[stage.on]]\nwhen = ['transfer_failed']\nsay = ['told']\n"),
            &["nobody is called here; write `[stage.transfer]`"],
        ),
        // A guard on what is never set.
        (
            before_silence(
                "[[stage.on]]\nwhen = ['speech']\nif = ['price_acknowledged == 1']\nsay = ['told']\n",
            ),
            &["`price_acknowledged` is never set; write `acknowledges_price = true`"],
        ),
        (
            spoilt(
                "when = ['1', 'confirm']",
                "when = ['1', 'confirm']\nif = ['confirmations >= 1', 'check_digit_ok == 1', 'opted_out == 0', 'readiness >= 1']",
            ),
            &[
                "'confirmations >= 1' | if | never holds: `confirmations` is never set; write `confirms = true` where the caller says yes",
                "'check_digit_ok == 1' | if | never holds: `check_digit_ok` is never set; write `secret = true`",
                "'opted_out == 0' | if | always holds: `opted_out` is never set; propose the action `opt_out`",
            ],
        ),
        (
            spoilt(
                "say = ['ask']\n",
                "say = ['ask']\nskip = [{ if = ['identity_level >= 2'], go = 'bye' }, { if = ['identity_level >= 1'], go = 'bye' }]\n",
            ),
            &[
                "'identity_level >= 2' | if | never holds: `identity_level` is never set; write `identifies = \"named\"`",
            ],
        ),
        (
            spoilt(
                "when = ['1', 'confirm']",
                "when = ['1', 'confirm']\nif = ['objection_price >= 1', 'objections_open == 1', 'intent_trust >= 1', 'ready == 1']",
            ),
            &[
                "'objection_price >= 1' | if | never holds: `objection_price` is never set; write `[phrases.objection_price]` and `[objection.price]`",
                "'objections_open == 1' | if | never holds",
                "'intent_trust >= 1' | if | never holds: `intent_trust` is never set; write `objection_trust` in `[evidence]`",
                "'ready == 1' | if | never holds: `ready` is never set; write `[evidence]` or an `intent`",
            ],
        ),
        // What happens elsewhere has its names.
        (
            spoilt("'1', 'confirm'", "'1', '@slot_takn'"),
            &[
                "'@slot_takn' | stage.ask.on.when | unknown signal `@slot_takn`; did you mean `@slot_taken`?",
            ],
        ),
        // What no phrase list hears.
        (
            spoilt(
                "[prompts]",
                "[evidence]\nconfirm = 100\ndeferral = -100\n[objection.price]\nanswers = [['told']]\nexhausted = 'bye'\n[prompts]",
            ),
            &[
                "-100 | evidence.deferral | nothing is ever heard as `deferral`; write `[phrases.deferral]`, or `means = \"deferral\"` in a list",
                "[['told']] | objection.price | nothing is ever heard as `objection_price`; write `[phrases.objection_price]`",
            ],
        ),
        // A stage of its own mind.
        (
            spoilt(
                "role = 'booking'\nsay = ['ask']\n",
                "role = 'booking'\nhalf_life_ms = 5\nsay = ['ask']\nevidence = { confrm = 100, hesitation = -50 }\n",
            ),
            &[
                "5 | stage.ask.half_life_ms | 5 ms; write 100 to 14400000",
                "100 | stage.ask.evidence.confrm | unknown evidence `confrm`; did you mean `confirm`?",
            ],
        ),
        (
            spoilt(
                "say = ['ask']\n",
                "say = ['ask']\nevidence = { hesitation = -50 }\n",
            ),
            &["-50 | stage.ask.evidence.hesitation | nothing is ever heard as `hesitation`"],
        ),
        // The same in what holds everywhere.
        (
            spoilt(
                "[[stage]]",
                "[[on]]\nwhen = ['9', 'speech']\ngo = 'bye'\n[[on]]\nwhen = ['speech']\nsay = ['told']\n[[stage]]",
            ),
            &["'speech' | on.when | never taken: an `on` before it takes this"],
        ),
        // A handler that is never taken.
        (
            before_silence("[[stage.on]]\nwhen = ['1']\nsay = ['told']\n"),
            &["'1' | stage.ask.on.when | never taken: an `on` before it takes this"],
        ),
        // Stages that talk in circles.
        (
            before_silence("[[stage.on]]\nwhen = ['said']\ngo = 'ask'\n"),
            &["'ask' | stage.ask | it talks in a circle and listens to nobody"],
        ),
        // `at_most` counts anew with each entry.
        (
            before_silence("[[stage.on]]\nwhen = ['silence']\nat_most = 1\ngo = 'ask'\n"),
            &["'ask' | stage.ask | it talks in a circle and listens to nobody"],
        ),
        (
            instead_of_silence(
                "[[stage.on]]\nwhen = ['silence']\ngo = 'again'\n[[stage]]\nname = 'again'\nrole = 'booking'\nsay = ['ask']\n[[stage.on]]\nwhen = ['silence']\ngo = 'ask'\n",
            ),
            &[
                "'ask' | stage.ask | it talks in a circle",
                "'again' | stage.again | it talks in a circle and listens to nobody: while the caller is silent these stages lead to one another; let one say it again with `at_most`",
            ],
        ),
        (
            spoilt(
                "say = ['ask']\n",
                "say = ['ask']\nskip = [{ if = ['store_ok == 0'], go = 'again' }]\n",
            ) + "[[stage]]\nname = 'again'\nrole = 'booking'\nskip = [{ if = ['store_ok == 1'], go = 'ask' }]\n[[stage.on]]\nwhen = ['silence']\ngo = 'bye'\n",
            &[
                "'again' | stage.ask.skip.go | skipped in a circle",
                "'ask' | stage.again.skip.go | skipped in a circle: each of these stages leads to the next and none is ever entered; let one lead elsewhere",
            ],
        ),
        // A person who may or may not take the call.
        (
            spoilt(
                "say = ['ask']\n",
                "say = ['ask']\ntransfer = { to = 'closer' }\n",
            ),
            &["a person may take the call or not; write an `on` for `transferred`"],
        ),
        (
            spoilt(
                "say = ['ask']\n",
                "say = ['ask']\ntransfer = { to = 'closer', way = 'attnded' }\n",
            ),
            &["'attnded' | stage.ask.transfer.way | unknown `attnded`; did you mean `attended`?"],
        ),
        (
            spoilt(
                "say = ['ask']\n",
                "say = ['ask']\ntransfer = { to = 'closer', way = 'refer', brief = ['told'] }\n",
            ),
            &["nobody is told before a caller is sent on by `refer`; write `attended`"],
        ),
        (
            spoilt(
                "role = 'booking'\nsay = ['bye']",
                "role = 'booking'\npace = 'slow'\nsay = ['bye']",
            ),
            &["'slow' | stage.bye.pace | unknown `slow`; expected one of `question`"],
        ),
        (
            spoilt("[prompts]", "[[role]]\nname = 'bokking'\n[prompts]"),
            &[
                "no role `booking`; did you mean `bokking`?",
                "no role `booking`",
            ],
        ),
        (
            spoilt("[prompts]", "[evidence]\nconfrm = 100\n[prompts]"),
            &["100 | evidence.confrm | unknown evidence `confrm`; did you mean `confirm`?"],
        ),
        (
            spoilt(
                "[prompts]",
                "[objection.prise]\nanswers = [['told']]\nexhausted = 'bye'\n[prompts]",
            ),
            &["unknown objection `prise`; did you mean `price`?"],
        ),
        (
            spoilt(
                "[prompts]",
                "[[notice]]\nprompt = 'tolt'\nfacts = ['intent']\n[prompts]",
            ),
            &[
                "no prompt `tolt`; did you mean `told`?",
                "no notice makes `intent` true",
            ],
        ),
        (
            spoilt("any = ['yes']", "any = ['(yes']"),
            &["'(yes' | phrases.confirm.any | `(yes`: `(` is not closed by `)`"],
        ),
        (
            spoilt("any = ['yes']", "any = ['yes']\nmeans = 'agree'"),
            &["'agree' | phrases.confirm.means | unknown `agree`; expected one of `confirm`"],
        ),
        (
            spoilt("start = 'ask'", "start = 'aks'"),
            &["'aks' | start | no stage `aks`; did you mean `ask`?"],
        ),
        (
            spoilt("say = ['ask']", "say = ['asc']"),
            &["'asc' | stage.ask.say | no prompt `asc`; did you mean `ask`?"],
        ),
        (
            spoilt("letter = 'a'", "letter = 'b'"),
            &["no prompt `yes_b`; did you mean `yes_a`?"],
        ),
        (
            spoilt("yes_{letter}", "yes_{lettre}"),
            &[
                "nothing sets `{lettre}`; did you mean `letter`?",
                "`{lettre}` can be anything",
            ],
        ),
        (
            spoilt("yes_{letter}", "yes_{letter"),
            &["`{` is not closed", "no prompt ``"],
        ),
        (
            spoilt("'1', 'confirm'", "'1', 'confrm', 'x'"),
            &[
                "'confrm' | stage.ask.on.when | unknown signal `confrm`; did you mean `confirm`?",
                "unknown signal `x`",
            ],
        ),
        (
            spoilt(
                "when = ['silence']",
                "when = ['silence']\nif = [\"letter == 'b'\"]",
            ),
            &["`letter` is never 'b'"],
        ),
        (
            spoilt(
                "when = ['silence']",
                "when = ['silence']\nif = ['letter.b == offered', 'letter.a > offered', 'leter.a == offered', 'letter == offered']",
            ),
            &[
                "`letter` is never 'b'",
                "compare `letter.a` with == or !=",
                "unknown fact or value `leter`; did you mean `letter`?",
                "`letter` is no offer; write a value and one it can have, as `slot.tuesday`",
            ],
        ),
        (
            spoilt(
                "when = ['silence']",
                "when = ['silence']\nif = ['letter > 3', 'intnt > 3']",
            ),
            &[
                "`letter` is a text; write letter == '…'",
                "unknown fact or value `intnt`; did you mean `intent`?",
            ],
        ),
        (
            spoilt("when = ['silence']", "when = ['silence']\nat_most = 2"),
            &["'ask' | stage.ask | when nobody speaks the call stays here"],
        ),
        (
            spoilt("end = true", "silence_ms = 50"),
            &["50 | stage.bye.silence_ms | 50 ms; write 100 to 14400000"],
        ),
        (
            spoilt("end = true", ""),
            &[
                "'ask' | stage.ask | the call cannot end from here; lead to a stage with `end = true`",
                "'bye' | stage.bye | the call cannot end from here",
            ],
        ),
        (
            format!("{SOUND}[[stage]]\nname = 'attic'\nrole = 'r'\nend = true\n"),
            &["'attic' | stage.attic | no stage leads here"],
        ),
        (
            format!("{SOUND}[[stage]]\nname = 'bye'\nrole = 'A B'\nend = true\n"),
            &[
                "'bye' | stage.name | `bye` is used twice",
                "'A B' | stage.bye | `A B` is no name",
            ],
        ),
        (
            spoilt("end = true", "end = true\n[[stage.on]]\nwhen = ['1']"),
            &["'1' | stage.bye.on | the call ends here"],
        ),
        (
            spoilt(
                "say = ['bye']\nend = true",
                "[[stage.on]]\nwhen = ['said']\nhang_up = true",
            ),
            &["'said' | stage.bye.on.when | nothing is said in this stage"],
        ),
        (
            spoilt("go = 'bye'", "go = 'bye'\nhang_up = true"),
            &["`hang_up` ends the call; leave one out"],
        ),
        (
            spoilt(
                "[phrases.confirm]",
                "[phrases.silence]\nany = ['…']\nnegated = 'denie'\n[phrases.confirm]",
            ),
            &[
                "'…' | phrases.silence.any | `…`: a phrase needs a word",
                "'…' | phrases.silence | `silence` is a signal of its own; rename the list",
                "'denie' | phrases.silence.negated | no phrase list `denie`; expected one of",
            ],
        ),
        (
            spoilt("ask = 'Well?'", "ask = ' '"),
            &["' ' | prompts.ask | an empty prompt"],
        ),
        (
            spoilt("letter = 'a'", "intent = 'a'").replace("{letter}", "{intent}"),
            &["`intent` is taken or no name"],
        ),
        (
            spoilt("say = ['ask']", "say = ['ask']\nsay_as = 'schedule'"),
            &["'schedule' | stage.ask.say_as | `schedule` is not said; write `propose`"],
        ),
        (
            spoilt(
                "say = ['ask']",
                "say = ['ask']\ncollect = { name = 'pin', digits = 99, secret = true, check = 'lun' }",
            ),
            &[
                "'pin' | stage.ask.collect.sink | a secret goes to a sink and nowhere else: write `sink = \"NAME\"`",
                "99 | stage.ask.collect.digits | 99 keys; write 1 to 32",
                "'lun' | stage.ask.collect.check | unknown `lun`; write `luhn`",
            ],
        ),
        (
            spoilt(
                "say = ['ask']",
                "say = ['ask']\ncollect = { name = 'pin', digits = 4, sink = 'vault' }",
            ),
            &[
                "'vault' | stage.ask.collect.sink | belongs to a secret: write `secret = true`, or leave it out",
            ],
        ),
        (
            proposing("'schedule'", "'shedule'"),
            &[
                "'shedule' | stage.ask.on.propose.action | unknown action `shedule`; did you mean `schedule`?",
            ],
        ),
        (
            proposing("'schedule'", "'dial'"),
            &[
                "`dial` is not delivered upstream",
                "`dial` has no field `slot`; there is none",
            ],
        ),
        (
            proposing("slot =", "slott ="),
            &[
                "'schedule' | stage.ask.on.propose.fields | `schedule` needs the field `slot`",
                "'{letter}' | stage.ask.on.propose.fields | `schedule` has no field `slott`; did you mean `slot`?",
            ],
        ),
        (
            proposing("say_on_refused = ['told'], ", "deny = ['2'], "),
            &[
                "propose.say_on_refused | the caller must be told",
                "propose.say_on_withdrawn | the caller must be told",
                "propose.say_on_passed_on | the caller must be told",
            ],
        ),
        (
            proposing("go_on_durable", "go_on_durable = 'buy', go_on_refused"),
            &["'buy' | stage.ask.on.propose.go_on_durable | no stage `buy`; did you mean `bye`?"],
        ),
        (
            spoilt("go = 'bye'", &format!("{PROPOSE}\ngo = 'bye'")),
            &[
                "'bye' | stage.ask.on.go | depends on the answer; write `go_on_durable` inside `propose`",
            ],
        ),
    ];
    for (place, (text, expected)) in rows.iter().enumerate() {
        check(&format!("row {place}"), &playbook_faults(text), expected);
    }
}

/// What cannot be undone comes last, and every step finds what it needs.
#[test]
fn steps_that_could_not_be_undone_are_refused() {
    let text = "
[[action]]
type = 'note'
field = [{ name = 'text', required = true }]
[[action]]
type = 'book'
steps = ['note', 'nota']
[[action]]
type = 'alone'
steps = ['note']
";
    check(
        "steps",
        &action_faults(text),
        &[
            "'note' | action.book.steps | `note` is undone by nothing, and steps follow it: give it a `compensation`, or move it last",
            "'nota' | action.book.steps | unknown action `nota`",
            "'note' | action.alone.steps | 1 steps; write 2 to 8",
            "'note' | action.alone.steps | `note` needs the field `text`, which `alone` does not have",
        ],
    );
}

/// Only the stage that collects a secret hears that its sink did not take it.
#[test]
fn a_secret_not_taken_is_heard_where_one_is_collected() {
    let text = SOUND.replacen("'confirm']", "'not_taken']", 1);
    check(
        "secret",
        &playbook_faults(&text),
        &["no secret is collected here; write `secret = true` in `collect`"],
    );
}

#[test]
fn unknown_keys_are_errors() {
    let text = SOUND.replace("role = ", "rolle = ");
    let fault = toml::from_str::<RawPlaybook>(&text).unwrap_err();
    assert!(fault.message().contains("unknown field `rolle`"), "{fault}");
}
