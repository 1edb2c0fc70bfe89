//! Campaigns on the decision thread: the pacer says who is next, the gate's
//! policy whether at all, the store that it is written down, then it is dialled.

use offhook_core::action::builtin;
use offhook_core::autonomy::Scope;
use offhook_core::facts::{FactId, Facts};
use offhook_core::gate::lifted;
use offhook_core::input::{Cause, Originate};
use offhook_core::output::Outcome;
use offhook_core::pacer::Room;
use offhook_core::record::Rules;
use offhook_core::{Book, ConversationId, LeadId, Name, Number, Program, Seq};

use super::Decision;
use crate::campaigns::{CAMPAIGNS_MAX, CampaignPage, CampaignView, Plan};
use crate::clock;
use crate::control::campaigns::{CampaignOrder, CampaignRequest, Listed};
use crate::control::{Failure, Order};
use crate::facts;
use crate::leads::{Rejected, wall_ms};
use crate::store::{Expense, Write};

/// Of the box's slots this share stays free for calls that come in, in percent.
const RESERVE_PERCENT: u64 = 10;
/// Points of a budget that nobody has set: as many as the config takes.
const UNLIMITED: i64 = 1_000_000_000_000;
/// Calls begun in one go; the others in the next.
const BEGUN_MAX: usize = 16;

impl Decision {
    /// Begins what may be begun now.
    pub(super) fn work_campaigns(&mut self) {
        if self.stopping {
            return;
        }
        for id in self.campaigns.running() {
            for _ in 0..BEGUN_MAX {
                if !self.begin_next(id) {
                    break;
                }
            }
        }
    }

    /// One lead further; false when there is nobody to be called now.
    fn begin_next(&mut self, id: u64) -> bool {
        let now_ms = wall_ms(clock::wall());
        let room = self.room(id, now_ms);
        let Some(campaign) = self.campaigns.by_id(id) else {
            return false;
        };
        let Some(lead) = campaign.pacer.next(now_ms, room) else {
            return false;
        };
        let plan = campaign.plan.clone();
        if self.is_on_the_line(lead) {
            return self.refused_now(id, lead, ["already_in_a_call".into()]);
        }
        let Some(number) = self.leads.number_of(lead).cloned() else {
            return self.drop_from(id, lead, "no_number");
        };
        let facts = self.facts_for(lead, &number, &plan);
        let known = |name| facts.iter().find(|fact| fact.name == name)?.value;
        if known("do_not_call") == Some(1) {
            return self.drop_from(id, lead, "do_not_call");
        }
        let refused = self.refusing_rules(&plan, &number, &facts);
        if !refused.is_empty() {
            return self.refused_now(id, lead, refused);
        }
        let Some(campaign) = self.campaigns.by_id(id) else {
            return false;
        };
        let seq = campaign.next_seq();
        campaign.asked.insert(seq, lead);
        let page = CampaignPage::Dialled {
            lead,
            at_ms: now_ms,
        };
        self.keep_campaign(id, page, Some(seq));
        true
    }

    /// Somebody who is being called, by whatever list, or is in a call is not called.
    fn is_on_the_line(&self, lead: LeadId) -> bool {
        let lead = self.leads.standing(lead);
        let same = |other: LeadId| self.leads.standing(other) == lead;
        let mut live = self.calls.values().filter(|call| !call.over);
        live.any(|call| call.person.is_some_and(same)) || self.campaigns.calling().any(same)
    }

    /// This one is not called now, for these reasons; asked again later.
    fn refused_now(
        &mut self,
        id: u64,
        lead: LeadId,
        rules: impl IntoIterator<Item = Name>,
    ) -> bool {
        let Some(campaign) = self.campaigns.by_id(id) else {
            return false;
        };
        campaign.pacer.refused(lead, wall_ms(clock::wall()));
        for rule in rules {
            *campaign.refusals.entry(rule.into()).or_default() += 1;
        }
        true
    }

    /// Slots that outbound calls may take; people who can take a call over; what the
    /// campaign's trunk bears.
    fn room(&self, id: u64, now_ms: u64) -> Room {
        let media = self.board.media_counts();
        let reserve = (media.slots * RESERVE_PERCENT).div_ceil(100);
        let live = self.calls.values().filter(|call| !call.over).count() as u64;
        let used = media.used.max(live) + self.campaigns.asked();
        let free = media.slots.saturating_sub(used.saturating_add(reserve));
        let agents = self.offers.value("agents_free", clock::now());
        // Each call of another list may want one of them too.
        let wanted = i64::from(self.campaigns.wanting_agents(id));
        let agents = agents.map(|free| free.saturating_sub(wanted));
        Room {
            slots: u32::try_from(free).unwrap_or(u32::MAX),
            line: self.campaigns.line_room(id, now_ms),
            agents: agents.map(|free| u32::try_from(free.max(0)).unwrap_or(u32::MAX)),
        }
    }

    fn facts_for(
        &self,
        lead: LeadId,
        number: &Number,
        plan: &Plan,
    ) -> Vec<offhook_core::input::Fact> {
        let mut known = self.facts(number.as_str());
        let consent = self.leads.consent_of(lead);
        known.push(facts::fact("consent_recorded", (consent > 0).into()));
        known.push(facts::fact("consent_basis", consent));
        // Nobody has said anything yet; what was said in calls before is `do_not_call`.
        known.push(facts::fact("opted_out", 0));
        known.extend(self.budget_facts(Some(lead), Some(&plan.name)));
        known
    }

    /// What the policy would say to a dial now; the gate says it again when it
    /// is proposed.
    fn refusing_rules(
        &self,
        plan: &Plan,
        number: &Number,
        known: &[offhook_core::input::Fact],
    ) -> Rules {
        let order = order(plan, String::new());
        let book = match self.house.outbound(&order) {
            Ok((book, _)) => book,
            Err(reason) => return std::iter::once(reason.into()).collect(),
        };
        let mut facts = Facts::default();
        for fact in known {
            if let Some(id) = FactId::find(&fact.name) {
                facts.set(id, fact.value);
            }
        }
        let role = first_role(&book);
        let scope = Scope {
            action: builtin::DIAL,
            role: &role,
            lead: number.as_str(),
        };
        let now = clock::now();
        let mut denied = book.policy.rule_on(builtin::DIAL, &role, &facts).denied;
        denied.retain(|rule| lifted(&book.policy, &self.standing, now, scope, rule).is_none());
        denied
    }

    fn drop_from(&mut self, id: u64, lead: LeadId, reason: &str) -> bool {
        let reason = reason.to_owned();
        self.keep_campaign(id, CampaignPage::Dropped { lead, reason }, None);
        true
    }

    fn keep_campaign(&mut self, id: u64, page: CampaignPage, seq: Option<Seq>) {
        self.campaigns.apply(id, page.clone());
        self.keeper.keep(Write::Campaign { id, page, seq });
    }

    /// The store has answered about a dial: only what is written down is dialled.
    /// False: it was no campaign's.
    pub(super) fn dial_kept(&mut self, id: ConversationId, seq: Seq, durable: bool) -> bool {
        let Some(campaign) = self.campaigns.by_id(id.0) else {
            return false;
        };
        let Some(lead) = campaign.asked.remove(&seq) else {
            return true;
        };
        let plan = campaign.plan.clone();
        let now_ms = wall_ms(clock::wall());
        let ready = durable && campaign.running && !self.stopping;
        let number = self.leads.number_of(lead).cloned().filter(|_| ready);
        let begun = number.map(|number| self.begin(id.0, lead, number, &plan));
        match begun {
            Some(Ok(())) => {}
            Some(Err(_)) | None => {
                if let Some(campaign) = self.campaigns.by_id(id.0) {
                    // Nothing left the box: no attempt at the person.
                    let (cause, result) = (Cause::Overload, "not_dialled");
                    if durable {
                        let result = result.to_owned();
                        let at_ms = now_ms;
                        let page = CampaignPage::Over {
                            lead,
                            cause,
                            result,
                            at_ms,
                        };
                        self.keep_campaign(id.0, page, None);
                    } else {
                        campaign.pacer.ended(lead, cause, result, now_ms);
                    }
                }
            }
        }
        true
    }

    fn begin(&mut self, id: u64, lead: LeadId, number: Number, plan: &Plan) -> Result<(), Failure> {
        let order = order(plan, number.as_str().to_owned());
        let (book, trunk) = self.house.outbound(&order).map_err(Failure::new)?;
        let originate = Originate {
            to: order.to,
            trunk,
            by: format!("campaign {}", plan.name),
        };
        let campaign = Some((id, plan.name.clone()));
        self.originate(
            originate,
            Some(&number),
            None,
            &book,
            Some((lead, campaign)),
        );
        Ok(())
    }

    /// A call of a campaign is over.
    pub(super) fn campaign_call_over(&mut self, call: ConversationId, outcome: &Outcome) {
        let Some(campaign) = self.campaigns.of_call(call) else {
            return;
        };
        let id = campaign.id;
        let Some(lead) = campaign.calls.remove(&call) else {
            return;
        };
        let page = CampaignPage::Over {
            lead,
            cause: outcome.cause,
            result: outcome.result.clone(),
            at_ms: wall_ms(clock::wall()),
        };
        self.keep_campaign(id, page, None);
        let readiness = self.leads.readiness_of(lead);
        if let Some(campaign) = self.campaigns.by_id(id) {
            campaign.pacer.rate(lead, readiness);
        }
    }

    /// What the command line asks about campaigns.
    pub(super) fn serve_campaign(&mut self, request: CampaignRequest) {
        match request {
            CampaignRequest::Start(order, reply) => {
                let _ = reply.send(self.start_campaign(*order));
            }
            CampaignRequest::Pause(name, reply) => {
                let _ = reply.send(self.pause_campaign(&name));
            }
            CampaignRequest::All(reply) => {
                let ids: Vec<u64> = self.campaigns.all().map(|campaign| campaign.id).collect();
                let views = ids.into_iter().filter_map(|id| self.campaign_view(id));
                let _ = reply.send(views.collect());
            }
        }
    }

    fn start_campaign(&mut self, order: CampaignOrder) -> Result<Listed, Failure> {
        let known = self.campaigns.find(&order.name);
        let before = known
            .and_then(|id| self.campaigns.by_id(id))
            .map(|it| it.plan.clone());
        let plan = self.plan(&order, before.as_ref())?;
        if known.is_none() && self.campaigns.all().count() >= CAMPAIGNS_MAX {
            return Err(Failure::new(format!(
                "there are {CAMPAIGNS_MAX} campaigns already"
            )));
        }
        let id = known.unwrap_or_else(|| self.new_id().0);
        let running = self
            .campaigns
            .by_id(id)
            .is_some_and(|campaign| campaign.running);
        if before.as_ref() != Some(&plan) || !running {
            self.keep_campaign(id, CampaignPage::Started(plan), None);
        }
        let mut listed = Listed::default();
        let mut leads = Vec::new();
        for (line, text) in &order.leads {
            match self.one_lead(text) {
                Ok(lead) => leads.push((lead, self.leads.readiness_of(lead))),
                Err(failure) => listed.rejected.push(Rejected {
                    line: *line,
                    reason: format!("{}: import it first", failure.error),
                }),
            }
        }
        let on_list = |campaigns: &mut crate::campaigns::Campaigns| {
            campaigns
                .by_id(id)
                .map_or(0, |it| it.pacer.progress().leads)
        };
        let before = on_list(&mut self.campaigns);
        if !leads.is_empty() {
            self.keep_campaign(id, CampaignPage::Listed(leads.clone()), None);
        }
        listed.added = on_list(&mut self.campaigns).saturating_sub(before);
        listed.known = (leads.len() as u64).saturating_sub(listed.added);
        Ok(listed)
    }

    /// The plan of an order; what it leaves out is as before, or as the config has it.
    fn plan(&self, order: &CampaignOrder, before: Option<&Plan>) -> Result<Plan, Failure> {
        let asked = Order {
            to: String::new(),
            playbook: order
                .playbook
                .clone()
                .or_else(|| Some(before?.playbook.clone())),
            trunk: order.trunk.clone().or_else(|| Some(before?.trunk.clone())),
            consent: None,
        };
        let (book, trunk) = self.house.outbound(&asked).map_err(Failure::new)?;
        let Program::Playbook(playbook) = &book.program else {
            return Err(Failure::new("a test is called, it does not call"));
        };
        let pace = match (&order.pace, before) {
            (Some(pace), _) => pace.clone(),
            (None, Some(before)) => before.pace.clone(),
            (None, None) => self.house.settings.outbound.pace.clone(),
        };
        if pace.attempts == 0 || pace.at_once == 0 || pace.per_minute == 0 {
            return Err(Failure::new(
                "attempts, at_once and per_minute must be at least 1",
            ));
        }
        Ok(Plan {
            name: order.name.clone(),
            playbook: playbook.name.clone(),
            trunk,
            pace,
            budget: order.budget.or_else(|| before?.budget),
        })
    }

    fn pause_campaign(&mut self, name: &str) -> Result<CampaignView, Failure> {
        let unknown = || Failure::new(format!("there is no campaign `{name}`"));
        let id = self.campaigns.find(name).ok_or_else(unknown)?;
        self.keep_campaign(id, CampaignPage::Paused, None);
        self.campaign_view(id).ok_or_else(unknown)
    }

    fn campaign_view(&mut self, id: u64) -> Option<CampaignView> {
        let name = self.campaigns.by_id(id)?.plan.name.clone();
        let spent = self.leads.spent().in_campaign(&name);
        self.campaigns.view(id, wall_ms(clock::wall()), spent)
    }

    /// What may still be spent; where nobody says how much, more than anybody can.
    pub(super) fn budget_facts(
        &self,
        lead: Option<LeadId>,
        campaign: Option<&str>,
    ) -> Vec<offhook_core::input::Fact> {
        let budget = &self.house.settings.budget;
        let spent = self.leads.spent();
        let own = campaign.and_then(|name| {
            let found = self.campaigns.all().find(|it| it.plan.name == name)?;
            found.plan.budget
        });
        let day = wall_ms(clock::wall()) / 86_400_000;
        let of_lead = lead.map_or(0, |lead| self.leads.spent_on(lead));
        let of_campaign = campaign.map_or(0, |name| spent.in_campaign(name));
        let left = [
            ("budget_left_lead", budget.lead, of_lead),
            ("budget_left_campaign", own.or(budget.campaign), of_campaign),
            ("budget_left_day", budget.day, spent.on_day(day)),
        ];
        left.into_iter()
            .map(|(name, limit, spent)| {
                let left = limit.map_or(UNLIMITED, |limit| limit.saturating_sub(spent));
                facts::fact(name, left)
            })
            .collect()
    }

    /// Spends points on the person of a call, and tells the calls what is left.
    pub(super) fn spend(&mut self, call: ConversationId, points: i64, on: &str) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.spent = call.spent.saturating_add(points);
        }
        let Some((lead, campaign)) = self
            .calls
            .get(&call)
            .and_then(|it| Some((it.person?, it.campaign.clone())))
        else {
            return;
        };
        if points == 0 {
            return;
        }
        let expense = Expense {
            points,
            on: on.to_owned(),
            campaign: campaign.clone(),
            day: wall_ms(clock::wall()) / 86_400_000,
        };
        let pages = self
            .leads
            .write(lead, [crate::leads::Chapter::Spent(expense)]);
        self.keep_pages(pages);
        let left = self.budget_facts(Some(lead), campaign.as_deref());
        let event = offhook_core::Event::Facts(left);
        let at = clock::now();
        self.at_once
            .push_back((call, offhook_core::Input { at, event }));
    }
}

fn order(plan: &Plan, to: String) -> Order {
    Order {
        to,
        playbook: Some(plan.playbook.clone()),
        trunk: Some(plan.trunk.clone()),
        consent: None,
    }
}

/// In which role the first proposal of a conversation is made.
fn first_role(book: &Book) -> Name {
    match &book.program {
        Program::Playbook(playbook) => {
            let role = playbook.stage(playbook.start).role;
            playbook.role(role).name.clone()
        }
        Program::Test(_) => Name::default(),
    }
}
