//! Asterisk as a foreign PBX, from a Debian tree of its own (`OFFHOOK_ASTERISK` names
//! it, `tests/interop` makes it), with a configuration per test, steered over its
//! manager interface. Runs in the namespace of the thread that starts it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use crate::certificate::self_signed;
use crate::patience::{ms, seconds, watch};
use crate::place::{Place, free_port};
use crate::process::{Running, run};
use crate::sound::Sound;

/// What a test wants of it.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Where its SIP sockets are; loopback when left out.
    pub host: Option<Ipv4Addr>,
    /// Sections of `pjsip.conf` beside the transports (`udp`, `tcp`, `tls`) and `global`.
    pub pjsip: String,
    /// Lines of the context `test`.
    pub dialplan: String,
}

/// What its machine is called.
const NAME: &str = "asterisk";

/// A running Asterisk; killed when dropped.
#[derive(Debug)]
pub struct Asterisk {
    process: Running,
    folder: PathBuf,
    host: Ipv4Addr,
    sip: u16,
    tls: u16,
    manager: u16,
}

/// The tree's root.
///
/// # Errors
/// Why there is none: for the list of skips.
pub fn tree() -> Result<PathBuf, String> {
    let named = std::env::var_os("OFFHOOK_ASTERISK")
        .ok_or("no Asterisk: OFFHOOK_ASTERISK names no tree (tests/interop makes one)")?;
    let tree = PathBuf::from(named);
    if !tree.join("usr/sbin/asterisk").is_file() {
        return Err(format!("no Asterisk in {}", tree.display()));
    }
    let asked = run("unshare", ["-m", "-u", "true"]);
    (asked.code == 0)
        .then_some(tree)
        .ok_or(format!("no Asterisk: unshare -m -u: {}", asked.err.trim()))
}

impl Asterisk {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// Why it cannot be tested here: for the list of skips.
    ///
    /// # Panics
    /// When it does not serve within 30 s.
    pub fn start(place: &Place, setup: &Setup) -> Result<Self, String> {
        let tree = tree()?;
        let folder = place.file("asterisk");
        for name in ["etc", "varlib", "spool", "log", "agi", "sounds"] {
            std::fs::create_dir_all(folder.join(name))
                .expect("the test's directory can be written");
        }
        let host = setup.host.unwrap_or(Ipv4Addr::LOCALHOST);
        let (sip, tls, manager) = (free_port(), free_port(), free_port());
        self_signed(&folder.join("etc"), "IP:127.0.0.1");
        for (name, text) in files(setup, host, (sip, tls, manager)) {
            std::fs::write(folder.join("etc").join(name), text).expect("a file of the test");
        }
        // Mounts and a name of its own, which go when it ends. It looks its name up at
        // each call: where nobody knows it, that takes as long as the name server does.
        let script = format!(
            "mkdir -p {tree}/run/ast && mount --bind {folder} {tree}/run/ast && \
             mount --rbind /dev {tree}/dev && mount -t proc proc {tree}/proc && \
             mkdir -p {tree}/usr/share/asterisk/sounds && \
             mount --bind {folder}/sounds {tree}/usr/share/asterisk/sounds && \
             hostname {NAME} && touch {tree}/etc/hosts && \
             mount --bind {folder}/etc/hosts {tree}/etc/hosts && \
             exec chroot {tree} asterisk -f -p -n -C /run/ast/etc/asterisk.conf",
            tree = tree.display(),
            folder = folder.display()
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "-u", "sh", "-c", &script]);
        let process = Running::start(&mut command, &place.file("asterisk.log"));
        let mut asterisk = Self {
            process,
            folder,
            host,
            sip,
            tls,
            manager,
        };
        let up = watch(seconds(30), || {
            let dead = asterisk.process.ended().is_some();
            (dead
                || asterisk
                    .command("core waitfullybooted")
                    .contains("fully booted"))
            .then_some(dead)
        });
        assert_eq!(up, Some(false), "Asterisk: {}", asterisk.said());
        Ok(asterisk)
    }

    /// Where it takes UDP and TCP.
    pub fn sip(&self) -> SocketAddr {
        (self.host, self.sip).into()
    }

    /// Where it takes TLS.
    pub fn tls(&self) -> SocketAddr {
        (self.host, self.tls).into()
    }

    /// Its certificate, which vouches for itself.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("etc/tls.pem")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Puts a sound where dialplans find it as `/run/ast/NAME`.
    pub fn give(&self, name: &str, samples: &[i16]) {
        Sound::mono(samples.to_vec()).write(&self.folder.join(format!("{name}.wav")));
    }

    /// What a dialplan has recorded as `/run/ast/NAME.wav`.
    pub fn recorded(&self, name: &str) -> Option<Vec<i16>> {
        let path = self.folder.join(format!("{name}.wav"));
        path.is_file()
            .then(|| Sound::read(&path).channels[0].clone())
    }

    /// A command of its own command line; gives what it printed, or nothing while
    /// nobody listens yet.
    pub fn command(&self, line: &str) -> String {
        self.action(&[("Action", "Command"), ("Command", line)])
    }

    /// An action of its manager interface; gives everything that was said in answer.
    pub fn action(&self, fields: &[(&str, &str)]) -> String {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.manager)) else {
            return String::new();
        };
        let login = [
            ("Action", "Login"),
            ("Username", "test"),
            ("Secret", "test"),
            ("Events", "off"),
        ];
        let logoff = [("Action", "Logoff")];
        let mut text = String::new();
        for fields in [&login[..], fields, &logoff[..]] {
            for (name, value) in fields {
                text += &format!("{name}: {value}\r\n");
            }
            text += "\r\n";
        }
        let limit = stream.set_read_timeout(Some(seconds(10)));
        let mut said = Vec::new();
        let told = limit.and_then(|()| stream.write_all(text.as_bytes()));
        // It closes after Logoff; what came before a limit counts as well.
        let _ = told.and_then(|()| stream.read_to_end(&mut said).map(|_| ()));
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Calls `channel` (`PJSIP/echo@offhook`) and runs an extension of `test` once it
    /// is up.
    pub fn originate(&self, channel: &str, extension: &str) {
        self.action(&[
            ("Action", "Originate"),
            ("Channel", channel),
            ("Context", "test"),
            ("Exten", extension),
            ("Priority", "1"),
            ("Timeout", "20000"),
            ("Async", "true"),
        ]);
        std::thread::sleep(ms(10));
    }

    /// Names of its channels that are up.
    pub fn channels(&self) -> Vec<String> {
        let said = self.command("core show channels concise");
        let rows = said
            .lines()
            .filter_map(|line| line.strip_prefix("Output: "));
        let names = rows.filter_map(|row| row.split_once('!').map(|(name, _)| name.to_owned()));
        names.collect()
    }
}

const MODULES: &str = "res_sorcery_config res_sorcery_memory res_sorcery_astdb res_timing_timerfd \
res_rtp_asterisk res_srtp res_crypto res_pjproject res_pjsip res_pjsip_pubsub res_pjsip_session \
res_pjsip_sdp_rtp res_pjsip_endpoint_identifier_ip res_pjsip_endpoint_identifier_user \
res_pjsip_endpoint_identifier_anonymous res_pjsip_authenticator_digest res_pjsip_registrar \
res_pjsip_outbound_authenticator_digest res_pjsip_outbound_registration res_pjsip_caller_id \
res_pjsip_dtmf_info res_pjsip_refer res_pjsip_rfc3326 res_pjsip_t38 res_fax res_fax_spandsp \
res_format_attr_opus res_pjsip_nat res_pjsip_acl res_pjsip_logger chan_pjsip pbx_config app_dial \
app_echo app_playback app_playtones app_record app_mixmonitor app_verbose app_read app_senddtmf \
app_stack app_exec res_musiconhold codec_ulaw codec_alaw codec_g722 \
codec_resample codec_opus_open_source format_pcm format_wav bridge_simple bridge_softmix \
bridge_native_rtp bridge_holding bridge_builtin_features func_channel func_callerid \
func_jitterbuffer func_pjsip_endpoint func_strings func_logic";

fn files(
    setup: &Setup,
    host: Ipv4Addr,
    (sip, tls, manager): (u16, u16, u16),
) -> [(&'static str, String); 11] {
    let transport = |name: &str, port: u16, more: &str| {
        format!("[{name}]\ntype=transport\nprotocol={name}\nbind={host}:{port}\n{more}\n")
    };
    let certificate = "cert_file=/run/ast/etc/tls.pem\npriv_key_file=/run/ast/etc/tls.key\n\
                       method=tlsv1_2\nverify_server=no\n";
    let pjsip = format!(
        "[global]\ntype=global\nuser_agent=asterisk\n{}{}{}{}",
        transport("udp", sip, ""),
        transport("tcp", sip, ""),
        transport("tls", tls, certificate),
        setup.pjsip
    );
    let load = |name: &str| format!("load={name}.so\n");
    [
        ("hosts", format!("127.0.0.1 localhost\n{host} {NAME}\n")),
        (
            "asterisk.conf",
            "[directories]\nastetcdir => /run/ast/etc\n\
             astmoddir => /usr/lib/x86_64-linux-gnu/asterisk/modules\n\
             astvarlibdir => /run/ast/varlib\nastdbdir => /run/ast/varlib\n\
             astkeydir => /run/ast/varlib\nastdatadir => /usr/share/asterisk\n\
             astagidir => /run/ast/agi\nastspooldir => /run/ast/spool\nastrundir => /run/ast\n\
             astlogdir => /run/ast/log\n[options]\nverbose = 3\nhighpriority = yes\n"
                .to_owned(),
        ),
        (
            "modules.conf",
            format!(
                "[modules]\nautoload=no\n{}",
                MODULES.split_whitespace().map(load).collect::<String>()
            ),
        ),
        ("pjsip.conf", pjsip),
        (
            "extensions.conf",
            format!("[general]\n[test]\n{}", setup.dialplan),
        ),
        (
            "manager.conf",
            format!(
                "[general]\nenabled=yes\nport={manager}\nbindaddr=127.0.0.1\n\
                 [test]\nsecret=test\nread=all\nwrite=all\n"
            ),
        ),
        (
            "rtp.conf",
            format!("[general]\nrtpstart={}\nrtpend={}\n", 12_000, 19_000),
        ),
        (
            "logger.conf",
            "[general]\n[logfiles]\nconsole => notice,warning,error,verbose\n".to_owned(),
        ),
        (
            "codecs.conf",
            "[plc]\ngenericplc => true\ngenericplc_on_equal_codecs => true\n".to_owned(),
        ),
        (
            "features.conf",
            "[general]\n[featuremap]\natxfer => *2\n".to_owned(),
        ),
        (
            "musiconhold.conf",
            "[default]\nmode=files\ndirectory=/run/ast\n".to_owned(),
        ),
    ]
}
