//! Certificates that vouch for themselves, or that an authority of the test vouches for,
//! by openssl.

use std::path::{Path, PathBuf};

use crate::place::Place;
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

/// A certificate for a name, by the authority of the place (`ca.pem`), which is made at
/// the first; and its key.
///
/// # Panics
/// When openssl fails or is not installed.
pub fn issued(place: &Place, name: &str) -> (String, String) {
    issued_with(place, name, "")
}

/// The same with more extensions, as openssl's configuration writes them.
///
/// # Panics
/// When openssl fails or is not installed.
pub fn issued_with(place: &Place, name: &str, more: &str) -> (String, String) {
    let (ca, ca_key) = (place.name("ca.pem"), place.name("ca.key"));
    if !place.file("ca.pem").exists() {
        let made = run(
            "openssl",
            [
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=authority",
                "-keyout",
                &ca_key,
                "-out",
                &ca,
            ],
        );
        assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    }
    let (certificate, key) = (
        place.name(&format!("{name}.pem")),
        place.name(&format!("{name}.key")),
    );
    let asked = place.name(&format!("{name}.csr"));
    let extension = place.write("san.cnf", format!("subjectAltName=DNS:{name}\n{more}"));
    let extension = extension.display().to_string();
    for arguments in [
        vec![
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=trunk",
            "-keyout",
            &key,
            "-out",
            &asked,
        ],
        vec![
            "x509",
            "-req",
            "-in",
            &asked,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &extension,
            "-out",
            &certificate,
        ],
    ] {
        let made = run("openssl", arguments);
        assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    }
    (certificate, key)
}
