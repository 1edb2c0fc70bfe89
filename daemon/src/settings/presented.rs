//! Who we are shown as to those whom we call: number, name, and whether they may
//! see it (RFC 3323, RFC 3325). The rules of the config file; the call is made
//! elsewhere.

use std::ops::Range;

use offhook_config::one_of;
use offhook_core::Number;
use offhook_core::number::Numbering;
use offhook_sip::{Party, Uri};

use super::Account;
use super::raw::RawTrunk;

/// Longest name in characters; telephones show 15 to 30.
const NAME_MAX: usize = 64;
/// Who calls where the file says nothing.
const NOBODY: &str = "offhook";

/// Who calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presentation {
    /// The number; `None`: the user of the account.
    pub number: Option<Number>,
    /// The name.
    pub name: Option<String>,
    /// Who may see it.
    pub privacy: Privacy,
}

/// Who may see the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privacy {
    /// All.
    #[default]
    None,
    /// The trunk; it is asked to keep it to itself (RFC 3325 §9.3).
    Id,
    /// The same, and `From` says nothing either (RFC 3323 §4.1.1.3).
    Anonymous,
}

impl Privacy {
    /// The words of the config file.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("none", Self::None),
        ("id", Self::Id),
        ("anonymous", Self::Anonymous),
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Id | Self::Anonymous => "id",
        }
    }
}

/// The headers of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// `From`.
    pub from: Party,
    /// `P-Asserted-Identity`.
    pub asserted: Option<Party>,
    /// `Privacy: id`.
    pub private: bool,
}

impl Presentation {
    /// What a case of the file calls `from`, `asserted` and `privacy`.
    pub(super) fn shown(&self, what: &str, numbering: &Numbering, user: Option<&str>) -> String {
        match what {
            "from" if self.privacy == Privacy::Anonymous => "anonymous".to_owned(),
            "from" => self.user(numbering, user),
            "asserted" if self.asserts(user) => self.user(numbering, user),
            "privacy" => self.privacy.word().to_owned(),
            _ => String::new(),
        }
    }

    /// The headers, for a trunk that writes numbers like this and where we have this
    /// account or are at this host; `None`: they make no URI.
    pub fn headers(
        &self,
        numbering: &Numbering,
        account: Option<&Account>,
        host: &str,
    ) -> Option<Presented> {
        let user = account.map(|account| account.user.as_str());
        let host = account.map_or(host, |account| account.domain.as_str());
        let own = Party {
            display: self.name.clone(),
            uri: Uri::parse(&format!("sip:{}@{host}", self.user(numbering, user))).ok()?,
        };
        let asserted = self.asserts(user).then(|| own.clone());
        let from = match self.privacy {
            Privacy::Anonymous => Party {
                display: Some("Anonymous".to_owned()),
                uri: Uri::parse("sip:anonymous@anonymous.invalid").ok()?,
            },
            Privacy::None | Privacy::Id => own,
        };
        Some(Presented {
            from,
            asserted,
            private: self.privacy != Privacy::None,
        })
    }

    /// A trunk that hides us must know whom.
    fn asserts(&self, user: Option<&str>) -> bool {
        self.number.is_some() || (self.privacy != Privacy::None && user.is_some())
    }

    fn user(&self, numbering: &Numbering, user: Option<&str>) -> String {
        match &self.number {
            Some(number) => numbering.write(number).replace('#', "%23"),
            None => user.unwrap_or(NOBODY).to_owned(),
        }
    }
}

/// What a trunk's part of the config says, and all that is wrong with it.
pub(super) fn presentation(
    raw: &RawTrunk,
    numbering: &Numbering,
) -> (Presentation, Vec<(Range<usize>, String)>) {
    let mut wrong = Vec::new();
    let number = raw.caller_id.as_ref().and_then(|at| {
        let number = Number::parse(at.get_ref());
        let written = number.as_ref().map(|number| numbering.write(number));
        let reason = match &written {
            None => format!(
                "`{}` is not an E.164 number: write it as +49…",
                at.get_ref()
            ),
            Some(user) if Uri::parse(&format!("sip:{user}@h")).is_err() => {
                format!(
                    "comes out as `{user}`, which is no user of a SIP address: correct `outbound`"
                )
            }
            Some(_) => return number,
        };
        wrong.push((at.span(), reason));
        None
    });
    let name = raw.caller_name.as_ref().map(|at| {
        let name = at.get_ref();
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            wrong.push((
                at.span(),
                "is no name: write one, or leave it out".to_owned(),
            ));
        } else if name.chars().count() > NAME_MAX {
            wrong.push((at.span(), format!("is longer than {NAME_MAX} letters")));
        }
        name.clone()
    });
    let privacy = raw.privacy.as_ref().and_then(|at| {
        let known = Privacy::WORDS.iter().find(|(word, _)| word == at.get_ref());
        if known.is_none() {
            let names = one_of(at.get_ref(), Privacy::WORDS.map(|(word, _)| word));
            wrong.push((
                at.span(),
                format!("`{}` hides nothing: {names}", at.get_ref()),
            ));
        }
        known.map(|(_, privacy)| *privacy)
    });
    for at in [&raw.caller_id, &raw.caller_name, &raw.privacy] {
        if let (Some(at), None) = (at, &raw.proxy) {
            let reason = "nobody is called by this trunk: write proxy = \"udp:HOST:PORT\" as well";
            wrong.push((at.span(), reason.to_owned()));
        }
    }
    let presentation = Presentation {
        number,
        name,
        privacy: privacy.unwrap_or_default(),
    };
    (presentation, wrong)
}
