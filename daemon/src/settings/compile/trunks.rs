//! The part of the compiler that reads `[[trunk]]`: who they are, how they are reached,
//! as whom we register, and which takes over when one is down.

use offhook_core::number::Country;
use offhook_sip::sdp::Codec;

use super::super::{Keys, Sound, Srtp};
use super::*;
use crate::settings::numbers::cases;
use crate::settings::presented::presentation;
use crate::settings::{Challenge, Permit};

impl<'c> Compiler<'c> {
    pub(super) fn trunks(&mut self, raw: &[At<RawTrunk>]) -> Vec<Trunk> {
        let mut trunks: Vec<Trunk> = Vec::new();
        for at in raw {
            let trunk = self.trunk(at, &trunks);
            trunks.push(trunk);
        }
        self.chains(raw, &trunks);
        trunks
    }

    fn trunk(&mut self, at: &At<RawTrunk>, earlier: &[Trunk]) -> Trunk {
        let raw = at.get_ref();
        let name = self.trunk_name(&raw.name, earlier);
        let mut sources: Vec<Cidr> = Vec::new();
        for entry in &raw.source {
            let Some(network) = self.parsed::<Cidr>(entry) else {
                continue;
            };
            let mut others = earlier
                .iter()
                .filter(|trunk| trunk.sources.contains(&network));
            if let Some(other) = others.next() {
                let reason = format!(
                    "{network} already belongs to trunk `{}`: a call from there can have only one",
                    other.name
                );
                self.fault(entry, reason);
            } else if sources.contains(&network) {
                self.fault(entry, format!("{network} is listed twice: remove one"));
            }
            sources.push(network);
        }
        if raw.source.is_empty() && raw.identity.is_empty() && raw.proxy.is_none() && self.whole {
            self.fault(at, "neither calls nor is called: write source = [\"CIDR\", …], proxy = \"udp:HOST:PORT\", or both");
        }
        let (numbering, mut wrong) = numbering(raw);
        let (presented, more) = presentation(raw, &numbering);
        wrong.extend(more);
        // A case that fails because of a rule that is wrong says nothing new.
        if wrong.is_empty() {
            wrong = cases(raw, &numbering, &presented);
        }
        for (span, reason) in wrong {
            self.faults.push(self.source.fault(span, reason));
        }
        let mut identities = Vec::new();
        for entry in &raw.identity {
            let identity = entry.get_ref().clone();
            if let Err(reason) = trunk::check_identity(&identity, earlier) {
                self.fault(entry, reason);
            }
            identities.push(identity);
        }
        let proxy: Option<Proxy> = raw.proxy.as_ref().and_then(|proxy| self.parsed(proxy));
        let outbound_proxy = raw
            .outbound_proxy
            .as_ref()
            .and_then(|proxy| self.parsed(proxy));
        if let (Some(at), None) = (&raw.outbound_proxy, &raw.proxy) {
            self.fault(
                at,
                "leads to nobody: write proxy = \"udp:HOST:PORT\" as well",
            );
        }
        let account = self.account(at, proxy.as_ref());
        if let Some(at) = &raw.options_s
            && *at.get_ref() != 0
        {
            self.in_range(at, &OPTIONS_S, " s, or 0 for never");
        }
        let options = raw.options_s.as_ref().map(|at| *at.get_ref());
        let options = options.filter(|seconds| *seconds != 0);
        Trunk {
            name,
            sources,
            outbound_proxy,
            permit: self.permit(raw, numbering.country),
            numbering,
            presented,
            identities,
            proxy,
            challenge: self.challenge(raw),
            account,
            options: options.map(|seconds| Duration::from_secs(u64::from(seconds))),
            sound: Sound {
                codecs: self.codecs(raw.codecs.as_ref()),
                srtp: self.srtp(raw.srtp.as_ref()),
                keys: self.keys(raw.keys.as_ref()),
            },
            follows_refer: raw.follows_refer,
            next: raw.next.as_ref().map(|at| at.get_ref().clone()),
        }
    }

    fn srtp(&mut self, written: Option<&At<String>>) -> Srtp {
        let Some(at) = written else {
            return Srtp::Off;
        };
        let known = Srtp::WORDS.iter().find(|(word, _)| word == at.get_ref());
        if known.is_none() {
            let names = one_of(at.get_ref(), Srtp::WORDS.map(|(word, _)| word));
            self.fault(
                at,
                format!("`{}` is no way to encrypt: {names}", at.get_ref()),
            );
        }
        known.map_or(Srtp::Off, |(_, srtp)| *srtp)
    }

    fn keys(&mut self, written: Option<&At<String>>) -> Keys {
        let Some(at) = written else {
            return Keys::default();
        };
        let known = Keys::WORDS.iter().find(|(word, _)| word == at.get_ref());
        if known.is_none() {
            let names = one_of(at.get_ref(), Keys::WORDS.map(|(word, _)| word));
            self.fault(
                at,
                format!("`{}` is no way to press keys: {names}", at.get_ref()),
            );
        }
        known.map_or_else(Keys::default, |(_, keys)| *keys)
    }

    /// In the order of the file; all that there are where it does not say.
    fn codecs(&mut self, written: Option<&At<Vec<At<String>>>>) -> Vec<Codec> {
        let Some(written) = written else {
            return Codec::ALL.to_vec();
        };
        let known = Codec::ALL.map(|codec| codec.name().to_ascii_lowercase());
        let mut codecs = Vec::new();
        for at in written.get_ref() {
            let place = known.iter().position(|name| name == at.get_ref());
            let codec = place.map(|place| Codec::ALL[place]);
            match codec {
                Some(codec) if codecs.contains(&codec) => {
                    self.fault(
                        at,
                        format!("`{}` is listed twice: remove one", at.get_ref()),
                    );
                }
                Some(codec) => codecs.push(codec),
                None => {
                    let names = one_of(at.get_ref(), known.iter().map(String::as_str));
                    self.fault(at, format!("`{}` is no codec: {names}", at.get_ref()));
                }
            }
        }
        if written.get_ref().is_empty() {
            self.fault(
                written,
                "no sound can be coded: write [\"pcmu\", \"pcma\"], or leave it out",
            );
        }
        codecs
    }

    fn challenge(&mut self, raw: &RawTrunk) -> Option<Challenge> {
        let at = raw.challenge.as_ref()?;
        match at.get_ref().as_str() {
            "any" => Some(Challenge::Any),
            "md5" => Some(Challenge::Md5),
            other => {
                let reason = format!("`{other}` is no way to ask: write \"any\" or \"md5\"");
                self.fault(at, reason);
                None
            }
        }
    }

    /// Whom it may be used to call.
    fn permit(&mut self, raw: &RawTrunk, home: Option<&'static Country>) -> Permit {
        let allow = raw.allow.as_ref().map(|list| {
            if list.get_ref().is_empty() {
                self.fault(
                    list,
                    "allows nobody: leave it out for the own country, or write \"*\" for all",
                );
            }
            self.patterns(list.get_ref())
        });
        if let Some(at) = &raw.calls_per_minute {
            self.in_range(at, &CALLS_PER_MINUTE, "");
        }
        Permit {
            home,
            allow,
            deny: self.patterns(&raw.deny),
            per_minute: raw
                .calls_per_minute
                .as_ref()
                .map_or(CALLS_PER_MINUTE_DEFAULT, |at| *at.get_ref()),
        }
    }

    fn patterns(&mut self, raw: &[At<String>]) -> Vec<Pattern> {
        let mut patterns = Vec::new();
        for at in raw {
            match Pattern::parse(at.get_ref()) {
                Ok(pattern) => patterns.push(pattern),
                Err(reason) => self.fault(at, reason),
            }
        }
        patterns
    }

    /// Who we are there, from the keys that belong together.
    fn account(&mut self, at: &At<RawTrunk>, proxy: Option<&Proxy>) -> Option<Account> {
        let raw = at.get_ref();
        if let Some(at) = &raw.expires_s {
            self.in_range(at, &EXPIRES_S, " s");
        }
        let Some(user) = &raw.user else {
            let orphans = [&raw.password, &raw.password_file, &raw.domain];
            for at in orphans.into_iter().flatten() {
                self.fault(at, "belongs to a user: write user = \"NAME\" as well");
            }
            if raw.challenge.is_some() {
                self.fault(
                    at,
                    "asks for no password: write user = \"NAME\" and password = \"…\"",
                );
            }
            if raw.register {
                self.fault(
                    at,
                    "registers nobody: write user = \"NAME\" and password = \"…\"",
                );
            }
            return None;
        };
        if proxy.is_none() && raw.proxy.is_none() && raw.challenge.is_none() && self.whole {
            self.fault(user, "is known nowhere: write proxy = \"udp:HOST:PORT\"");
        }
        let word = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '@');
        if user.get_ref().is_empty() || !user.get_ref().chars().all(word) {
            let reason = format!("`{}` is no user name", user.get_ref());
            self.fault(user, reason);
        }
        let domain = raw.domain.as_ref().map(|at| at.get_ref().clone());
        let domain = domain.or_else(|| proxy.map(Proxy::domain));
        Some(Account {
            user: user.get_ref().clone(),
            password: self.password(at),
            domain: domain.unwrap_or_else(|| REALM.to_owned()),
            register: raw.register.then(|| {
                raw.expires_s
                    .as_ref()
                    .map_or(EXPIRES_S_DEFAULT, |at| *at.get_ref())
            }),
        })
    }

    fn password(&mut self, at: &At<RawTrunk>) -> String {
        let raw = at.get_ref();
        match (&raw.password, &raw.password_file) {
            (Some(password), None) => password.get_ref().clone(),
            (None, Some(file)) => {
                let path = self.read(file);
                std::fs::read_to_string(&path).map_or_else(
                    |error| {
                        let reason = format!("`{}` cannot be read: {error}", path.display());
                        self.fault(file, reason);
                        String::new()
                    },
                    |text| text.trim_end().to_owned(),
                )
            }
            (Some(_), Some(file)) => {
                self.fault(
                    file,
                    "is the second password: keep one of password, password_file",
                );
                String::new()
            }
            (None, None) => {
                if self.whole {
                    self.fault(at, "has a user and no password: write password_file = \"FILE\" or password = \"…\"");
                }
                String::new()
            }
        }
    }

    /// Each trunk that another one names is there, can be called, and the
    /// chain of them ends.
    fn chains(&mut self, raw: &[At<RawTrunk>], trunks: &[Trunk]) {
        for at in raw.iter().filter(|_| self.whole).collect::<Vec<_>>() {
            let Some(next) = &at.get_ref().next else {
                continue;
            };
            if let Err(reason) = trunk::check_chain(next.get_ref(), trunks) {
                self.fault(next, reason);
            }
        }
    }

    fn trunk_name(&mut self, at: &At<String>, earlier: &[Trunk]) -> String {
        let name = at.get_ref();
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || !name.chars().all(good) {
            self.fault(
                at,
                format!("`{name}` is no name: use letters, digits, `.`, `-`, `_`"),
            );
        }
        if earlier.iter().any(|trunk| trunk.name == *name) {
            self.fault(at, format!("there are two trunks `{name}`: rename one"));
        }
        name.clone()
    }
}
