//! Facts that the daemon knows and the core does not.

use offhook_core::input::Fact;

/// How strong the basis is on which a lead agreed to be called, by its words:
/// 3 in writing, 2 said, 1 anything else, 0 nothing.
pub fn consent_level(basis: Option<&str>) -> i64 {
    let Some(basis) = basis else { return 0 };
    let word = basis.trim_start().to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|it| word.starts_with(it));
    match (
        begins(&["written", "in writing", "signed"]),
        begins(&["said", "spoken", "by phone"]),
    ) {
        (true, _) => 3,
        (false, true) => 2,
        (false, false) => 1,
    }
}

/// A fact with a value.
pub fn fact(name: &str, value: i64) -> Fact {
    Fact {
        name: name.to_owned(),
        value: Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consent_is_as_strong_as_its_first_word() {
        for (basis, level) in [
            (None, 0),
            (Some("customer since 2019"), 1),
            (Some("said on 3 May"), 2),
            (Some("Written: web form of 3 May"), 3),
            (Some("signed letter"), 3),
        ] {
            assert_eq!(consent_level(basis), level, "{basis:?}");
        }
    }
}
