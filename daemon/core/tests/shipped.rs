//! What ships is tested as shipped.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use offhook_core::playbook::{Handler, Playbook, Template};
use offhook_core::{Policy, RawPolicy};

/// Names of the files of `config/FOLDER`, without `.toml`.
fn names(folder: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let files = std::fs::read_dir(root.join(folder)).unwrap();
    files
        .map(|file| file.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_playbook_compiles_and_is_named_like_its_file() {
    for name in names("playbooks") {
        assert_eq!(common::playbook(&name).name, name);
    }
}

#[test]
fn every_policy_compiles_and_its_cases_hold() {
    for name in names("policies") {
        let text = common::shipped(&format!("policies/{name}.toml"));
        let raw: RawPolicy = toml::from_str(&text).unwrap();
        assert!(!raw.case.is_empty(), "{name} has golden cases");
        let policy = common::sound(&text, Policy::compile(&raw, &common::catalogue()));
        assert_eq!(policy.name(), name);
        assert_eq!(policy.lint(&raw), [], "{name} has nothing odd");
    }
}

/// What is rendered ahead is also said.
#[test]
fn no_prompt_is_in_vain() {
    for name in names("playbooks") {
        let playbook = common::playbook(&name);
        let said = said(&playbook);
        let (patterns, keys): (Vec<_>, Vec<_>) = said.iter().partition(|key| key.contains('{'));
        for key in playbook.prompts.keys() {
            let expanded = |pattern: &&&String| {
                let (head, _) = pattern.split_once('{').unwrap();
                key.starts_with(head)
            };
            let used = keys.contains(&key) || patterns.iter().any(|it| expanded(&it));
            assert!(used, "{name}: `{key}` is never said");
        }
    }
}

/// All prompt keys, with `{` where a value is filled in.
fn said(playbook: &Playbook) -> BTreeSet<String> {
    let stages = playbook.stages.iter();
    let handlers = stages.clone().flat_map(|stage| &stage.on);
    let handlers: Vec<&Handler> = handlers.chain(&playbook.everywhere).collect();
    let answers = handlers.iter().filter_map(|it| it.propose.as_ref());
    let answers = answers.flat_map(|plan| plan.answers());
    let templates = stages
        .flat_map(|stage| &stage.say)
        .chain(handlers.iter().flat_map(|handler| &handler.say))
        .chain(answers.flat_map(|answer| &answer.say))
        .chain(&playbook.bridge);
    let asked = playbook.stages.iter().flat_map(|stage| &stage.ask);
    let briefs = playbook.stages.iter().filter_map(|it| it.transfer.as_ref());
    let told = briefs.flat_map(|transfer| transfer.brief.iter().chain(&transfer.hold));
    let objections = playbook.objections.values();
    let answered = objections.flat_map(|it| it.say.iter().flatten());
    let again = playbook.notices.iter().filter_map(|it| it.again.clone());
    let all = templates.chain(asked).chain(told).chain(answered);
    all.map(written).chain(again).collect()
}

fn written(template: &Template) -> String {
    let mut values = std::collections::BTreeMap::new();
    for name in template.names() {
        values.insert(name.into(), "{".into());
    }
    template.fill(&values).into()
}
