//! How a trunk writes numbers, as its part of the config says: country, rules
//! both ways, and the cases that must come out as written.

use std::ops::Range;

use offhook_config::one_of;
use offhook_core::Number;
use offhook_core::number::{COUNTRIES, Country, Numbering, RULES_MAX, Rewrite};

use super::Presentation;
use super::raw::{At, RawNumberCase, RawTrunk};

type Wrong = Vec<(Range<usize>, String)>;

/// The numbering of a trunk, and all that is wrong with it.
pub(super) fn numbering(raw: &RawTrunk) -> (Numbering, Wrong) {
    let mut wrong = Wrong::new();
    let country = raw.country.as_ref().and_then(|at| {
        let found = Country::find(at.get_ref());
        if found.is_none() {
            let names = COUNTRIES.iter().map(|country| country.name);
            let hint = one_of(at.get_ref(), names);
            let reason = format!(
                "unknown country `{}`, {hint}; for others write rules in `inbound` and `outbound`",
                at.get_ref()
            );
            wrong.push((at.span(), reason));
        }
        found
    });
    let numbering = Numbering {
        country,
        inbound: rules(&raw.inbound, &mut wrong),
        outbound: rules(&raw.outbound, &mut wrong),
    };
    (numbering, wrong)
}

/// What is wrong with the cases of a trunk.
pub(super) fn cases(raw: &RawTrunk, numbering: &Numbering, presented: &Presentation) -> Wrong {
    let mut wrong = Wrong::new();
    let user = raw.user.as_ref().map(|at| at.get_ref().as_str());
    for case in &raw.case {
        match &case.get_ref().presents {
            Some(what) if PRESENTS.contains(&what.get_ref().as_str()) => {
                let found = presented.shown(what.get_ref(), numbering, user);
                differ(case.get_ref(), what, &found, &mut wrong);
            }
            Some(what) => {
                let names = one_of(what.get_ref(), PRESENTS);
                wrong.push((
                    what.span(),
                    format!("`{}` is nothing of a caller: {names}", what.get_ref()),
                ));
            }
            None => check(numbering, case, &mut wrong),
        }
    }
    wrong
}

/// What a case can ask of the caller that is shown.
const PRESENTS: [&str; 3] = ["from", "asserted", "privacy"];

fn rules(raw: &[At<String>], wrong: &mut Wrong) -> Vec<Rewrite> {
    let mut rules: Vec<Rewrite> = Vec::new();
    for at in raw {
        match Rewrite::parse(at.get_ref()) {
            Ok(rule) if rules.iter().any(|earlier| earlier.covers(&rule)) => {
                let reason = "never reached: a rule above takes all of it; move this one up";
                wrong.push((at.span(), reason.to_owned()));
            }
            Ok(rule) => rules.push(rule),
            Err(reason) => wrong.push((at.span(), reason)),
        }
    }
    if let Some(at) = raw.get(RULES_MAX) {
        wrong.push((at.span(), format!("more than {RULES_MAX} rules")));
    }
    rules
}

fn check(numbering: &Numbering, case: &At<RawNumberCase>, wrong: &mut Wrong) {
    let raw = case.get_ref();
    let (given, found) = match (&raw.inbound, &raw.outbound) {
        (Some(given), None) => {
            let number = numbering.read(given.get_ref());
            let text = number.map_or_else(String::new, |number| number.as_str().to_owned());
            (given, text)
        }
        (None, Some(given)) => match Number::parse(given.get_ref()) {
            Some(number) => (given, numbering.write(&number)),
            None => {
                let reason = format!(
                    "`{}` is not an E.164 number: write it as +49…",
                    given.get_ref()
                );
                return wrong.push((given.span(), reason));
            }
        },
        _ => {
            let reason = "write one of inbound = \"…\", outbound = \"…\", presents = \"from\", and what it `is`";
            return wrong.push((case.span(), reason.to_owned()));
        }
    };
    differ(raw, given, &found, wrong);
}

fn differ(raw: &RawNumberCase, given: &At<String>, found: &str, wrong: &mut Wrong) {
    if found != *raw.is.get_ref() {
        let named = match found {
            "" => "no number".to_owned(),
            found => format!("`{found}`"),
        };
        let reason = format!(
            "`{}` comes out as {named}, not as `{}`: correct the rules or the case",
            given.get_ref(),
            raw.is.get_ref()
        );
        wrong.push((raw.is.span(), reason));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::settings::{LoadError, Settings};

    fn faults(trunk: &str) -> Vec<String> {
        let text = format!("[[trunk]]\nname = \"t\"\nsource = [\"::1\"]\n{trunk}");
        match Settings::parse(Path::new("f.toml"), &text) {
            Ok(_) => Vec::new(),
            Err(LoadError::Wrong(faults)) => faults.iter().map(ToString::to_string).collect(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_cases_of_a_trunk_are_tried_at_load() {
        let good = "country = \"DE\"\ninbound = [\"2xx -> +49301234*\"]\noutbound = [\"+49* -> 0*\"]\n\
                    case = [{ inbound = \"030 123456\", is = \"+4930123456\" }, \
                    { inbound = \"anonymous\", is = \"\" }, \
                    { outbound = \"+4930123456\", is = \"030123456\" }]\n";
        assert_eq!(faults(good), Vec::<String>::new());
        let proxy = "proxy = \"udp:h\"\ncountry = \"DE\"\noutbound = [\"+49* -> 0*\"]\n";
        let shown = |keys: &str, case: &str| faults(&format!("{proxy}{keys}\ncase = [{case}]\n"));
        let number = "caller_id = \"+49301234\"";
        for (keys, case) in [
            (number, "{ presents = \"from\", is = \"0301234\" }"),
            (number, "{ presents = \"asserted\", is = \"0301234\" }"),
            (number, "{ presents = \"privacy\", is = \"none\" }"),
            ("", "{ presents = \"from\", is = \"offhook\" }"),
            ("", "{ presents = \"asserted\", is = \"\" }"),
            ("privacy = \"id\"", "{ presents = \"asserted\", is = \"\" }"),
            (
                "privacy = \"anonymous\"",
                "{ presents = \"from\", is = \"anonymous\" }",
            ),
            (
                "user = \"box\"\npassword = \"p\"\nprivacy = \"id\"",
                "{ presents = \"asserted\", is = \"box\" }",
            ),
        ] {
            assert_eq!(shown(keys, case), Vec::<String>::new(), "{keys} {case}");
        }
        for (text, expected) in [
            (
                "country = \"DE\"\ncase = [{ inbound = \"030123456\", is = \"+493012345\" }]",
                "f.toml:5:39: trunk[0].case[0].is: `030123456` comes out as `+4930123456`, not as `+493012345`",
            ),
            (
                "case = [{ inbound = \"0301\", is = \"+49301\" }]",
                "f.toml:4:34: trunk[0].case[0].is: `0301` comes out as no number",
            ),
            (
                "case = [{ is = \"x\" }]",
                "f.toml:4:9: trunk[0].case[0]: write one of inbound",
            ),
            (
                "proxy = \"udp:h\"\ncaller_id = \"030123\"",
                "f.toml:5:13: trunk[0].caller_id: `030123` is not an E.164 number: write it as +49…",
            ),
            (
                "proxy = \"udp:h\"\ncaller_name = \" \"",
                "f.toml:5:15: trunk[0].caller_name: is no name",
            ),
            (
                "proxy = \"udp:h\"\nprivacy = \"ID\"",
                "f.toml:5:11: trunk[0].privacy: `ID` hides nothing",
            ),
            (
                "caller_id = \"+4930123456\"",
                "f.toml:4:13: trunk[0].caller_id: nobody is called by this trunk",
            ),
            (
                "proxy = \"udp:h\"\ncaller_id = \"+4930123456\"\ncase = [{ presents = \"from\", is = \"0301\" }]",
                "f.toml:6:35: trunk[0].case[0].is: `from` comes out as `+4930123456`, not as `0301`",
            ),
            (
                "country = \"D\"",
                "f.toml:4:11: trunk[0].country: unknown country `D`",
            ),
            (
                "inbound = [\"0* -> +49*\", \"00* -> +*\"]",
                "f.toml:4:26: trunk[0].inbound[1]: never reached",
            ),
            (
                "outbound = [\"0*\"]",
                "f.toml:4:13: trunk[0].outbound[0]: `0*` has no `->`",
            ),
            (
                "case = [{ outbound = \"030\", is = \"x\" }]",
                "f.toml:4:22: trunk[0].case[0].outbound: `030` is not an E.164 number",
            ),
        ] {
            let found = faults(text);
            assert_eq!(found.len(), 1, "{text}: {found:#?}");
            assert!(found[0].starts_with(expected), "{}\n{expected}", found[0]);
        }
    }
}
