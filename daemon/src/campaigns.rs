//! Outbound lists: what they are, how far they are worked, what is kept of them.
//!
//! Like leads they are the sum of their pages, which the store keeps in the
//! chain; a dial is on disk before it leaves the box, so that a crash makes
//! nobody's telephone ring once more than allowed. The decision thread owns it;
//! whom to call when is the core's `Pacer`, whether at all the gate's.

use std::collections::BTreeMap;

use offhook_core::input::Cause;
use offhook_core::pacer::{Line, Pace, Pacer, Progress};
use offhook_core::{ConversationId, LeadId, Seq};
use serde::{Deserialize, Serialize};

/// Campaigns that are kept.
pub const CAMPAIGNS_MAX: usize = 1_000;

/// What a campaign is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// What its conversations go by.
    pub playbook: String,
    /// By which trunk.
    pub trunk: String,
    /// How it is worked.
    pub pace: Pace,
    /// Points it may spend; the config's when absent.
    pub budget: Option<i64>,
}

/// One line in the book of a campaign. Pages are added, none is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignPage {
    /// It begins, or goes on by this plan.
    Started(Plan),
    /// These are to be called, each with its readiness then.
    Listed(Vec<(LeadId, i64)>),
    /// This one is dialled.
    Dialled {
        /// Whom.
        lead: LeadId,
        /// Wall time, ms since 1970.
        at_ms: u64,
    },
    /// What came of it.
    Over {
        /// Of whom.
        lead: LeadId,
        /// Why it ended.
        cause: Cause,
        /// What it reached.
        result: String,
        /// Wall time, ms since 1970.
        at_ms: u64,
    },
    /// This one is not to be called.
    Dropped {
        /// Who.
        lead: LeadId,
        /// Why.
        reason: String,
    },
    /// Nobody is called until it is started again.
    Paused,
}

/// A campaign, as it is worked.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Its id in the store.
    pub id: u64,
    /// What it is.
    pub plan: Plan,
    /// How far it is.
    pub pacer: Pacer,
    /// It is worked now.
    pub running: bool,
    /// Its calls, and whom each is with.
    pub calls: BTreeMap<ConversationId, LeadId>,
    /// Dials on their way to the disk.
    pub asked: BTreeMap<Seq, LeadId>,
    /// The rules that refused lately, and how often.
    pub refusals: BTreeMap<String, u64>,
    seqs: u32,
}

/// A campaign for people who look in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignView {
    /// What it is.
    pub plan: Plan,
    /// `running`, `paused` or `done`.
    pub state: String,
    /// How far it is.
    pub progress: Progress,
    /// Points spent.
    pub spent: i64,
    /// The rules that refused to dial since the start, and how often.
    pub refusals: BTreeMap<String, u64>,
}

impl Campaign {
    fn new(id: u64, plan: Plan) -> Self {
        let pacer = Pacer::new(plan.pace.clone(), id);
        Self {
            id,
            plan,
            pacer,
            running: true,
            calls: BTreeMap::new(),
            asked: BTreeMap::new(),
            refusals: BTreeMap::new(),
            seqs: 0,
        }
    }

    /// The number under which the store answers.
    pub fn next_seq(&mut self) -> Seq {
        self.seqs = self.seqs.saturating_add(1);
        Seq(self.seqs)
    }

    /// For people who look in.
    fn view(&self, paused_until_ms: Option<u64>, spent: i64) -> CampaignView {
        let state = match (self.pacer.is_done() && self.asked.is_empty(), self.running) {
            (true, _) => "done",
            (false, true) => "running",
            (false, false) => "paused",
        };
        CampaignView {
            plan: self.plan.clone(),
            state: state.to_owned(),
            progress: Progress {
                paused_until_ms,
                ..self.pacer.progress()
            },
            spent,
            refusals: self.refusals.clone(),
        }
    }

    /// Says whether its trunk carried a call, where the page tells of one.
    fn apply(&mut self, page: CampaignPage) -> Option<(bool, u64)> {
        match page {
            CampaignPage::Started(plan) => {
                self.pacer.set_pace(plan.pace.clone());
                self.plan = plan;
                self.running = true;
            }
            CampaignPage::Listed(leads) => {
                for (lead, readiness) in leads {
                    self.pacer.add(lead, readiness);
                }
            }
            CampaignPage::Dialled { lead, at_ms } => self.pacer.dialled(lead, at_ms),
            CampaignPage::Over {
                lead,
                cause,
                result,
                at_ms,
            } => {
                let carried = self.pacer.ended(lead, cause, &result, at_ms)?;
                return Some((carried, at_ms));
            }
            CampaignPage::Dropped { lead, reason } => self.pacer.drop_lead(lead, &reason),
            CampaignPage::Paused => self.running = false,
        }
        None
    }
}

/// All campaigns.
#[derive(Debug, Default)]
pub struct Campaigns {
    all: BTreeMap<u64, Campaign>,
    /// How the trunks bear it, by name.
    lines: BTreeMap<String, Line>,
}

impl Campaigns {
    /// Takes in a page; of a campaign that nobody knows only its beginning.
    pub fn apply(&mut self, id: u64, page: CampaignPage) {
        let room = self.all.len() < CAMPAIGNS_MAX;
        match (self.all.get_mut(&id), page) {
            (Some(campaign), page) => {
                if let Some((carried, at_ms)) = campaign.apply(page) {
                    let trunk = campaign.plan.trunk.clone();
                    let line = self.lines.entry(trunk).or_insert_with(|| Line::new(id));
                    line.carried(carried, at_ms);
                }
            }
            (None, CampaignPage::Started(plan)) if room => {
                self.all.insert(id, Campaign::new(id, plan));
            }
            (None, _) => {}
        }
    }

    /// After the last page of the last process: what was being called then was cut off.
    pub fn interrupt(&mut self, now_ms: u64) {
        for campaign in self.all.values_mut() {
            let calling: Vec<LeadId> = campaign.pacer.calling().collect();
            for lead in calling {
                campaign.pacer.interrupted(lead, now_ms);
            }
        }
    }

    /// Dials that the trunk of a campaign may still bear now.
    pub fn line_room(&self, id: u64, now_ms: u64) -> u32 {
        let Some(campaign) = self.all.get(&id) else {
            return 0;
        };
        let trunk = &campaign.plan.trunk;
        let Some(line) = self.lines.get(trunk) else {
            return u32::MAX;
        };
        let on_it = self.all.values().filter(|it| it.plan.trunk == *trunk);
        let calling: u32 = on_it.map(|it| it.pacer.under_way()).sum();
        line.room(now_ms, calling)
    }

    /// People whom the calls of the other lists may still want.
    pub fn wanting_agents(&self, id: u64) -> u32 {
        let others = self.all.values().filter(|it| it.id != id);
        let wanting = others.filter(|it| it.pacer.pace().agents);
        wanting.map(|it| it.pacer.under_way()).sum()
    }

    /// All who are being called.
    pub fn calling(&self) -> impl Iterator<Item = LeadId> {
        self.all.values().flat_map(|it| it.pacer.calling())
    }

    /// A campaign for people who look in.
    pub fn view(&self, id: u64, now_ms: u64, spent: i64) -> Option<CampaignView> {
        let campaign = self.all.get(&id)?;
        let line = self.lines.get(&campaign.plan.trunk);
        let paused = line.and_then(|line| line.paused_until(now_ms));
        Some(campaign.view(paused, spent))
    }

    /// The campaign of that id.
    pub fn by_id(&mut self, id: u64) -> Option<&mut Campaign> {
        self.all.get_mut(&id)
    }

    /// The id of the campaign of that name.
    pub fn find(&self, name: &str) -> Option<u64> {
        let found = self
            .all
            .values()
            .find(|campaign| campaign.plan.name == name);
        found.map(|campaign| campaign.id)
    }

    /// Those that are worked now.
    pub fn running(&self) -> Vec<u64> {
        let running = self.all.values().filter(|campaign| campaign.running);
        running.map(|campaign| campaign.id).collect()
    }

    /// The campaign that a call belongs to.
    pub fn of_call(&mut self, call: ConversationId) -> Option<&mut Campaign> {
        self.all
            .values_mut()
            .find(|campaign| campaign.calls.contains_key(&call))
    }

    /// Dials on their way to the disk.
    pub fn asked(&self) -> u64 {
        self.all
            .values()
            .map(|campaign| campaign.asked.len() as u64)
            .sum()
    }

    /// All, the oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Campaign> {
        self.all.values()
    }
}
