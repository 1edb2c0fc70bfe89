//! `offhook.toml` as it is written: shapes only, with the bytes of what may be
//! refused later. Nobody but `compile` reads these.

use std::fmt;

use offhook_config::Spanned;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A value and where it stands.
pub(super) type At<T> = Spanned<T>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) policy: Option<At<String>>,
    pub(super) playbooks: Option<At<String>>,
    pub(super) actions: Option<At<String>>,
    pub(super) daemon: RawDaemon,
    pub(super) paths: RawPaths,
    pub(super) sip: RawSip,
    pub(super) tls: Option<At<RawTls>>,
    pub(super) stir: Option<RawStir>,
    pub(super) media: RawMedia,
    pub(super) answer: RawAnswer,
    pub(super) control: RawControl,
    pub(super) engine: RawEngine,
    pub(super) store: RawStore,
    pub(super) recording: RawRecording,
    pub(super) voice: RawVoice,
    pub(super) upstream: Option<At<RawUpstream>>,
    pub(super) outbound: RawOutbound,
    pub(super) budget: RawBudget,
    pub(super) inbound: Option<At<RawInbound>>,
    pub(super) test: RawTest,
    pub(super) log: RawLog,
    pub(super) trunk: Vec<At<RawTrunk>>,
    pub(super) route: Vec<At<RawRoute>>,
    pub(super) sink: Vec<At<RawSink>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDaemon {
    pub(super) drain_seconds: Option<At<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPaths {
    pub(super) state: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSip {
    pub(super) listen: Option<At<Vec<At<RawListen>>>>,
    pub(super) advertise: Option<At<String>>,
    #[serde(default)]
    pub(super) name_servers: Vec<At<String>>,
}

/// `"udp:…"`, or `{ at = "udp:…", advertise = "…" }`.
#[derive(Debug)]
pub(super) struct RawListen {
    pub(super) at: String,
    pub(super) advertise: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListenTable {
    at: String,
    #[serde(default)]
    advertise: Option<At<String>>,
}

impl<'de> Deserialize<'de> for RawListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// By hand: an untagged enum would lose where `advertise` stands.
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawListen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a socket like \"udp:0.0.0.0:5060\", or { at = \"…\", advertise = \"…\" }",
                )
            }

            fn visit_str<E: de::Error>(self, at: &str) -> Result<RawListen, E> {
                Ok(RawListen {
                    at: at.to_owned(),
                    advertise: None,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawListen, A::Error> {
                let table = RawListenTable::deserialize(MapAccessDeserializer::new(map))?;
                let RawListenTable { at, advertise } = table;
                Ok(RawListen { at, advertise })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) certificate: At<String>,
    pub(super) key: At<String>,
    pub(super) authorities: Option<At<String>>,
    #[serde(default)]
    pub(super) require_client_certificate: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStir {
    pub(super) authorities: At<String>,
    #[serde(default)]
    pub(super) certificates: Vec<RawSigner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSigner {
    pub(super) url: At<String>,
    pub(super) file: At<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMedia {
    pub(super) address: Option<At<String>>,
    pub(super) advertise: Option<At<String>>,
    pub(super) ports: Option<At<String>>,
    pub(super) max_calls: Option<At<u32>>,
    pub(super) threads: Option<At<u32>>,
    pub(super) realtime: Option<bool>,
    pub(super) playout_p95_ms: Option<At<u16>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAnswer {
    pub(super) sensitivity: Option<At<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawControl {
    pub(super) socket: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawEngine {
    pub(super) socket: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStore {
    pub(super) path: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRecording {
    pub(super) enabled: bool,
    pub(super) directory: Option<At<String>>,
    pub(super) reserve_mb: Option<At<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawVoice {
    pub(super) voice: Option<At<String>>,
    pub(super) cache: Option<At<String>>,
    pub(super) recordings: Option<At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUpstream {
    pub(super) url: At<String>,
    pub(super) secret: Option<At<String>>,
    pub(super) secret_file: Option<At<String>>,
    pub(super) credential: Option<At<String>>,
    pub(super) authorities: Option<At<String>>,
    pub(super) timeout_ms: Option<At<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOutbound {
    pub(super) playbook: Option<At<String>>,
    pub(super) trunk: Option<At<String>>,
    pub(super) do_not_call: Option<At<String>>,
    pub(super) attempts: Option<At<u32>>,
    pub(super) spacing_minutes: Option<At<u64>>,
    pub(super) at_once: Option<At<u32>>,
    pub(super) per_minute: Option<At<u32>>,
    pub(super) agents: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawBudget {
    pub(super) lead: Option<At<i64>>,
    pub(super) campaign: Option<At<i64>>,
    pub(super) day: Option<At<i64>>,
    pub(super) attempt: Option<At<i64>>,
    pub(super) minute: Option<At<i64>>,
    pub(super) person: Option<At<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInbound {
    pub(super) listen: At<String>,
    pub(super) secret: Option<At<String>>,
    pub(super) secret_file: Option<At<String>>,
    pub(super) credential: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTest {
    pub(super) enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    pub(super) level: Option<At<String>>,
    pub(super) journal: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrunk {
    pub(super) name: At<String>,
    #[serde(default)]
    pub(super) source: Vec<At<String>>,
    #[serde(default)]
    pub(super) identity: Vec<At<String>>,
    pub(super) proxy: Option<At<String>>,
    pub(super) outbound_proxy: Option<At<String>>,
    pub(super) allow: Option<At<Vec<At<String>>>>,
    #[serde(default)]
    pub(super) deny: Vec<At<String>>,
    pub(super) calls_per_minute: Option<At<u32>>,
    pub(super) country: Option<At<String>>,
    #[serde(default)]
    pub(super) inbound: Vec<At<String>>,
    #[serde(default)]
    pub(super) outbound: Vec<At<String>>,
    #[serde(default)]
    pub(super) case: Vec<At<RawNumberCase>>,
    pub(super) caller_id: Option<At<String>>,
    pub(super) caller_name: Option<At<String>>,
    pub(super) privacy: Option<At<String>>,
    pub(super) user: Option<At<String>>,
    pub(super) password: Option<At<String>>,
    pub(super) password_file: Option<At<String>>,
    pub(super) challenge: Option<At<String>>,
    #[serde(default)]
    pub(super) register: bool,
    pub(super) domain: Option<At<String>>,
    pub(super) expires_s: Option<At<u32>>,
    pub(super) options_s: Option<At<u32>>,
    pub(super) next: Option<At<String>>,
    pub(super) codecs: Option<At<Vec<At<String>>>>,
    pub(super) srtp: Option<At<String>>,
    pub(super) keys: Option<At<String>>,
    #[serde(default)]
    pub(super) follows_refer: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNumberCase {
    pub(super) inbound: Option<At<String>>,
    pub(super) outbound: Option<At<String>>,
    pub(super) presents: Option<At<String>>,
    pub(super) is: At<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoute {
    pub(super) called: At<String>,
    pub(super) playbook: Option<At<String>>,
    pub(super) test: Option<At<String>>,
    pub(super) fallback: Option<At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSink {
    pub(super) name: At<String>,
    pub(super) url: At<String>,
    pub(super) secret: Option<At<String>>,
    pub(super) secret_file: Option<At<String>>,
    pub(super) credential: Option<At<String>>,
    pub(super) authorities: Option<At<String>>,
    pub(super) timeout_ms: Option<At<u64>>,
}
