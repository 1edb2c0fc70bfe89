//! How the verbs reach the daemon, and what they say when they cannot.

use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use serde_json::json;

use super::{COULD_NOT, Common, NO, complain, print_json};
use crate::control::client::{Client, ClientError};
use crate::settings::{INSTALLED, INSTALLED_SOCKET, Settings};

/// Why a verb ends without its answer.
pub(super) enum Trouble {
    /// The answer is no.
    No(String),
    /// It could not be done.
    CouldNot(String),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable(path, cause) => Self::CouldNot(format!(
                "no daemon answers at {}: {cause}\n  Does it run? systemctl status offhookd, or: offhookd --config FILE\n  Another one is found with --config FILE or --socket PATH.",
                path.display()
            )),
            ClientError::Refused(status, reason) => match status {
                StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
                    Self::No(reason)
                }
                _ => Self::CouldNot(reason),
            },
            ClientError::Garbled(_) => Self::CouldNot(error.to_string()),
        }
    }
}

/// Runs a verb that asks the daemon; its value is the exit code.
pub(super) fn asking(common: &Common, verb: impl AsyncFnOnce(Client) -> Result<u8, Trouble>) -> u8 {
    let done = socket(common).and_then(|socket| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Trouble::CouldNot(error.to_string()))?;
        runtime.block_on(verb(Client::new(socket)))
    });
    done.unwrap_or_else(|trouble| tell(common, trouble))
}

/// Says what the trouble is, and what that means for the exit code.
pub(super) fn tell(common: &Common, trouble: Trouble) -> u8 {
    let (reason, code) = match trouble {
        Trouble::No(reason) => (reason, NO),
        Trouble::CouldNot(reason) => (reason, COULD_NOT),
    };
    if common.json {
        print_json(&json!({ "error": reason }));
    }
    complain(&reason);
    code
}

fn socket(common: &Common) -> Result<PathBuf, Trouble> {
    if let Some(socket) = &common.socket {
        return Ok(socket.clone());
    }
    let installed = Path::new(INSTALLED);
    let file = match &common.config {
        Some(file) => file,
        None if installed.exists() => installed,
        None => return Ok(PathBuf::from(INSTALLED_SOCKET)),
    };
    Settings::socket_of(file).map_err(|error| Trouble::CouldNot(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_daemon_nothing_can_be_done_and_one_learns_where_it_looked() {
        let common = Common {
            socket: Some("/nowhere/control.sock".into()),
            ..Common::default()
        };
        let code = asking(&common, async |client| {
            let error = client.get::<serde_json::Value>("/v1/status").await;
            let Err(Trouble::CouldNot(reason)) = error.map_err(Trouble::from) else {
                panic!("nobody listens there");
            };
            assert!(reason.contains("/nowhere/control.sock"), "{reason}");
            Err(Trouble::CouldNot(reason))
        });
        assert_eq!(code, COULD_NOT);
    }

    #[test]
    fn a_refusal_is_a_no_and_an_overload_is_not() {
        let trouble = |status| Trouble::from(ClientError::Refused(status, String::new()));
        assert!(matches!(trouble(StatusCode::NOT_FOUND), Trouble::No(_)));
        assert!(matches!(trouble(StatusCode::CONFLICT), Trouble::No(_)));
        let busy = trouble(StatusCode::SERVICE_UNAVAILABLE);
        assert!(matches!(busy, Trouble::CouldNot(_)));
    }
}
