//! What can be said: the prompts of playbooks, ready before the first call.

use std::collections::HashMap;
use std::sync::Arc;

use offhook_core::Name;
use offhook_core::playbook::Playbook;

use crate::media::{Clip, Script};
use crate::voice::{PromptBank, VoiceError};

/// The prompts of one playbook, by key.
#[derive(Clone, Debug, Default)]
pub struct Prompts(HashMap<String, Arc<Clip>>);

/// A prompt that cannot be spoken.
#[derive(Debug)]
pub struct Speechless {
    /// Whose prompt.
    pub playbook: String,
    /// Which.
    pub key: String,
    /// Why.
    pub error: VoiceError,
}

impl std::fmt::Display for Speechless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "playbook {}: prompt {}: {}",
            self.playbook, self.key, self.error
        )
    }
}

impl std::error::Error for Speechless {}

impl Prompts {
    /// Renders or reads every prompt of a playbook.
    ///
    /// # Errors
    /// The first prompt that has neither a readable recording nor a text to speak.
    pub fn of(playbook: &Playbook, bank: &PromptBank) -> Result<Self, Speechless> {
        let clip = |(key, text): (&String, &String)| {
            let clip = bank.clip(key, text).map_err(|error| Speechless {
                playbook: playbook.name.clone(),
                key: key.clone(),
                error,
            })?;
            Ok((key.clone(), clip))
        };
        playbook
            .prompts
            .iter()
            .map(clip)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Clips one after the other. The playbook was checked: all its keys are here.
    pub fn script(&self, keys: &[Name]) -> Arc<Script> {
        let clips = keys
            .iter()
            .filter_map(|key| self.0.get(key.as_str()).cloned())
            .collect();
        Arc::new(Script { clips })
    }
}
