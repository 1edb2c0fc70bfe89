//! `offhook audit`: is the chain whole, and the chain itself for others to check.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};

use serde_json::{Value, json};

use super::ask::{Trouble, tell};
use super::policy::settings;
use super::{Common, NO, OK, print, print_json};
use crate::store::reader::{Chained, Reader};

/// The audit chain: verify it, or write it out.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum AuditVerb {
    /// Walk the chain from its first row; say which row is wrong, if one is.
    Verify(VerifyArgs),
    /// Every row as a line of JSON, with salt, digest and hash: whoever has it can
    /// check it (`hash = SHA-256(previous, seq, conversation, wall_ms, kind, digest)`,
    /// `digest = SHA-256(salt, payload)`, integers as 8 bytes little-endian, the
    /// kind with its length before it).
    Export,
}

/// What is compared beside the chain itself.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// `SEQUENCE:CHAINHASH` of an event that was delivered: shows that nothing
    /// before it was removed or rewritten since, the end of the chain included.
    #[arg(long, value_name = "SEQUENCE:HASH")]
    head: Vec<String>,
}

pub(super) fn run(common: &Common, verb: &AuditVerb) -> u8 {
    let done = reader(common).and_then(|reader| match verb {
        AuditVerb::Verify(arguments) => verify(common, &reader, &arguments.head),
        AuditVerb::Export => export(&reader),
    });
    done.unwrap_or_else(|trouble| tell(common, trouble))
}

/// The store of the config, for reading, beside a running daemon or without.
pub(super) fn reader(common: &Common) -> Result<Reader, Trouble> {
    let store = settings(common)?.store;
    Reader::open(&store).map_err(|error| Trouble::CouldNot(format!("{}: {error}", store.display())))
}

fn unreadable(error: rusqlite::Error) -> Trouble {
    Trouble::CouldNot(format!("the store cannot be read: {error}"))
}

fn verify(common: &Common, reader: &Reader, heads: &[String]) -> Result<u8, Trouble> {
    let verified = match reader.verify().map_err(unreadable)? {
        Ok(verified) => verified,
        Err(fault) => return Err(Trouble::No(fault.to_string())),
    };
    for head in heads {
        let (seq, hash) = head
            .split_once(':')
            .and_then(|(seq, hash)| Some((seq.parse().ok()?, hash)))
            .ok_or_else(|| {
                let reason = format!("`{head}`: write SEQUENCE:CHAINHASH of a delivered event");
                Trouble::CouldNot(reason)
            })?;
        let found = reader.hash_at(seq).map_err(unreadable)?;
        match found.map(|found| hex(&found)) {
            Some(found) if found.eq_ignore_ascii_case(hash) => {}
            Some(_) => {
                let reason = format!("audit row {seq}: rewritten since it was delivered");
                return Err(Trouble::No(reason));
            }
            None => {
                let reason = format!("audit row {seq}: was delivered and is gone");
                return Err(Trouble::No(reason));
            }
        }
    }
    if common.json {
        print_json(&json!({
            "rows": verified.rows,
            "forgotten": verified.forgotten,
            "seq": verified.head.seq,
            "hash": hex(&verified.head.hash),
        }));
    } else {
        print(&format!(
            "whole: {} rows, {} of them forgotten; {} delivered heads agree; ends with {}:{}\n",
            verified.rows,
            verified.forgotten,
            heads.len(),
            verified.head.seq,
            hex(&verified.head.hash)
        ));
    }
    Ok(OK)
}

fn export(reader: &Reader) -> Result<u8, Trouble> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut gone = false;
    let walked = reader.chain(|row| {
        gone = writeln!(out, "{}", line(&row)).is_err();
        !gone
    });
    walked.map_err(unreadable)?;
    let flushed = out.flush();
    Ok(if gone || flushed.is_err() { NO } else { OK })
}

fn line(row: &Chained) -> Value {
    let payload = row.payload.as_deref().map(String::from_utf8_lossy);
    json!({
        "seq": row.seq,
        "conversation": row.conversation,
        "kind": row.kind,
        "wall_ms": row.wall_ms,
        "salt": row.salt.map(|salt| hex(&salt)),
        "digest": hex(&row.digest),
        "hash": hex(&row.hash),
        "payload": payload,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}
