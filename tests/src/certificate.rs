//! Certificates that vouch for themselves, by openssl.

use std::path::{Path, PathBuf};

use crate::process::run;

/// A certificate for these names (`DNS:localhost,IP:127.0.0.1`) and its key, as
/// `tls.pem` and `tls.key` in a directory.
///
/// # Panics
/// When openssl fails or is not installed.
pub fn self_signed(folder: &Path, names: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("tls.pem"), folder.join("tls.key"));
    let names = format!("subjectAltName={names}");
    let request =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test";
    let mut words: Vec<&str> = request.split(' ').collect();
    words.extend([
        "-addext",
        &names,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    let (key_name, name) = (key.display().to_string(), certificate.display().to_string());
    words.extend(["-keyout", &key_name, "-out", &name]);
    let made = run("openssl", words);
    assert_eq!(made.code, 0, "openssl: {}{}", made.out, made.err);
    (certificate, key)
}
