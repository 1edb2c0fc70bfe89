//! The control socket: HTTP and JSON over a unix socket, for the `offhook`
//! command and for `curl --unix-socket`.
//!
//! It shows and passes orders on; it decides nothing and keeps nothing. What
//! lives is asked of the decision thread ([`Request`]), what is kept is read
//! from the store beside it.

mod archive;
pub mod campaigns;
pub mod client;
pub mod people;
mod server;
mod sound;
mod words;

use tokio::sync::{broadcast, oneshot};

use offhook_core::output::Approval;
use offhook_core::{ActionId, ConversationId};

use crate::house::{Governing, House, Rules};
use crate::media::{Hearing, Speech};

pub use server::{bind, serve};
pub use sound::Said;
pub use words::{
    ApprovalRow, CallCounts, CallDetail, CallRow, CallState, Decision, Decree, Decreed,
    Explanation, Failure, Lane, LiveCall, MediaCounts, Order, OutboxStatus, OverrideOrder, Placed,
    PolicyNow, PolicyText, ReceiverStatus, Rule, SipListener, StandingNow, Status, StoreStatus,
    TapeInfo, TimelineEntry, Told, TrunkStatus, Verdict,
};

/// What is asked of the decision thread. A reply that nobody waits for any
/// more is no error.
pub enum Request {
    /// What lives now.
    Live(oneshot::Sender<Live>),
    /// Place a call: the conversation exists before anything is sent.
    Originate(Order, oneshot::Sender<Result<ConversationId, Failure>>),
    /// What waits for a person.
    Approvals(oneshot::Sender<Vec<Approval>>),
    /// A person answers.
    Approve(ActionId, Verdict, oneshot::Sender<Result<(), Failure>>),
    /// Something about campaigns.
    Campaign(campaigns::CampaignRequest),
    /// Something about leads.
    Lead(people::LeadRequest),
    /// What is decreed.
    Standing(oneshot::Sender<StandingNow>),
    /// A person decrees something.
    Decree(Box<Decree>, oneshot::Sender<Result<Decreed, Failure>>),
    /// Another policy holds; the answer says for how many running calls.
    Govern(Governing, Box<Rules>, String, oneshot::Sender<usize>),
    /// End a call; `false`: it does not live.
    HangUp(ConversationId, oneshot::Sender<bool>),
    /// Hear the caller of a live call.
    Listen(ConversationId, oneshot::Sender<Result<Hearing, Failure>>),
    /// Speak into a live call.
    Speak(ConversationId, oneshot::Sender<Result<Speech, Failure>>),
}

/// What only the decision thread knows.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Calls, the oldest first.
    pub calls: Vec<LiveCall>,
    /// Slots of the media threads.
    pub media: MediaCounts,
    /// Why nothing is recorded, where something should be.
    pub not_recording: Option<String>,
    /// Playbooks that cannot be used, and why.
    pub broken: std::collections::BTreeMap<String, String>,
    /// Counters by name, as in `offhook status`.
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// The daemon as the control socket sees it.
pub trait Desk: Send + Sync + 'static {
    /// Hands a request to the decision thread, or back when its queue is full.
    ///
    /// # Errors
    /// The queue is full or the thread has ended.
    fn ask(&self, request: Request) -> Result<(), Request>;
    /// What happens from now on, of all calls.
    fn events(&self) -> broadcast::Receiver<std::sync::Arc<Told>>;
    /// The SIP sockets with their real ports.
    fn listeners(&self) -> Vec<SipListener>;
    /// The trunks, in the order of the file.
    fn trunks(&self) -> Vec<TrunkStatus>;
    /// The upstream and the sinks of secrets.
    fn receivers(&self) -> Vec<ReceiverStatus>;
    /// How the store does.
    fn store(&self) -> StoreStatus;
    /// The store's file, for reading.
    fn store_path(&self) -> &std::path::Path;
    /// The reason of a rule, in the words of the policy that holds now.
    fn why(&self, rule: &str) -> Option<String>;
    /// The house, where policies are checked.
    fn house(&self) -> Option<&House>;
    /// Where calls are recorded, if they are.
    fn recordings(&self) -> Option<&std::path::Path>;
}
