//! Who is delivered to: the upstream and the sinks of secrets, where they are, who
//! vouches for them, and what signs for us. The rest of the file is the parent's.

use super::*;

impl Compiler<'_> {
    pub(super) fn upstream(&mut self, at: &At<RawUpstream>) -> Option<Upstream> {
        let raw = at.get_ref();
        let timeout_ms = raw.timeout_ms.as_ref().map_or(TIMEOUT_MS_DEFAULT, |at| {
            self.in_range(at, &TIMEOUT_MS, " ms");
            *at.get_ref()
        });
        self.url(&raw.url);
        let secret = self.secret_source(at, [&raw.secret, &raw.secret_file, &raw.credential]);
        Some(Upstream {
            url: raw.url.get_ref().clone(),
            secret: secret?,
            authorities: raw.authorities.as_ref().map(|at| self.authorities(at)),
            timeout: Duration::from_millis(timeout_ms),
        })
    }

    /// A file of certificates that vouch for a receiver.
    pub(super) fn authorities(&mut self, at: &At<String>) -> PathBuf {
        let path = self.read(at);
        if let Err(fault) = Tls::client_to(None, Some(&path)) {
            self.fault(at, fault.to_string());
        }
        path
    }

    /// All that the playbooks name must be there.
    pub(super) fn sinks(&mut self, raw: &Raw, books: &Books) -> Vec<Sink> {
        let mut sinks: Vec<Sink> = Vec::new();
        for at in &raw.sink {
            let name = &at.get_ref().name;
            if sinks.iter().any(|known| known.name == *name.get_ref()) {
                self.fault(name, format!("`{}` is used twice", name.get_ref()));
            }
            sinks.extend(self.sink(at));
        }
        let named = |name: &str| {
            raw.sink
                .iter()
                .any(|at| at.get_ref().name.get_ref() == name)
        };
        for (playbook, book) in &books.playbooks {
            let missing = book.sinks().find(|name| !named(name));
            if let (Some(name), Some(at)) = (missing, &raw.playbooks) {
                let reason = format!(
                    "playbook `{playbook}` collects a secret for the sink `{name}`: write [[sink]] with name = \"{name}\" and its url"
                );
                self.fault(at, reason);
            }
        }
        sinks
    }

    pub(super) fn sink(&mut self, at: &At<RawSink>) -> Option<Sink> {
        let raw = at.get_ref();
        let timeout_ms = raw
            .timeout_ms
            .as_ref()
            .map_or(SINK_TIMEOUT_MS_DEFAULT, |at| {
                self.in_range(at, &SINK_TIMEOUT_MS, " ms");
                *at.get_ref()
            });
        let address = self.parsed::<SinkAddress>(&raw.url);
        if address.as_ref().is_some_and(|it| !it.is_private()) {
            let reason = "the secrets of callers would travel unencrypted: write \"https://…\" or \"unix:/…\"";
            self.fault(&raw.url, reason);
        }
        let secret = self.secret_source(at, [&raw.secret, &raw.secret_file, &raw.credential]);
        Some(Sink {
            name: raw.name.get_ref().clone(),
            address: address?,
            secret: secret?,
            authorities: raw.authorities.as_ref().map(|at| self.authorities(at)),
            timeout: Duration::from_millis(timeout_ms),
        })
    }

    pub(super) fn url(&mut self, at: &At<String>) {
        let text = at.get_ref();
        let uri = text.parse::<axum::http::Uri>().ok();
        let scheme = uri.as_ref().and_then(|uri| uri.scheme_str());
        let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
        if !matches!(scheme, Some("http" | "https")) || host.is_empty() {
            let reason = format!(
                "`{text}` is no address to deliver to: write it like \"https://crm.example.net/offhook\""
            );
            self.fault(at, reason);
        } else if scheme == Some("http") && !is_local(host) {
            let reason = "what is delivered there travels unencrypted: better \"https://…\"";
            self.note(at, reason);
        }
    }

    /// The one key that is named.
    pub(super) fn secret_source<T>(
        &mut self,
        at: &At<T>,
        keys: [&Option<At<String>>; 3],
    ) -> Option<SecretSource> {
        match keys.map(Option::as_ref).into() {
            (Some(secret), None, None) => self.secret(secret, secret.get_ref()),
            (None, Some(file), None) => {
                let path = self.read(file);
                match std::fs::read_to_string(&path) {
                    Ok(text) => self.secret(file, &text),
                    Err(error) => {
                        let reason = format!("`{}` cannot be read: {error}", path.display());
                        self.fault(file, reason);
                        None
                    }
                }
            }
            (None, None, Some(name)) => self.credential(name),
            (None, None, None) => {
                if self.whole {
                    self.fault(at, "has no key to sign with: write secret = \"whsec_…\", secret_file = \"PATH\" or credential = \"NAME\"");
                }
                None
            }
            _ => {
                self.fault(
                    at,
                    "has several keys to sign with: keep one of secret, secret_file, credential",
                );
                None
            }
        }
    }

    pub(super) fn secret(&mut self, at: &At<String>, text: &str) -> Option<SecretSource> {
        Secret::parse(text)
            .map(SecretSource::Here)
            .map_err(|reason| self.fault(at, reason))
            .ok()
    }

    pub(super) fn credential(&mut self, at: &At<String>) -> Option<SecretSource> {
        let name = at.get_ref();
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || !name.chars().all(good) || name.starts_with('.') {
            self.fault(
                at,
                format!("`{name}` is no credential name: use letters, digits, `.`, `-`, `_`"),
            );
            return None;
        }
        Some(SecretSource::Credential(name.clone()))
    }
}
