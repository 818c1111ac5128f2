//! The servers and models of a run: each pair that its cases use is reached, checked and counted separately. Must not
//! know how cases are measured.

use anyhow::{Context, Result};
use tokio::sync::watch;

use super::connect;
use super::observer::Observer;
use super::reach::{Reached, reach, unreachable};
use crate::matrix::{Name, Point};
use crate::plan::Plan;
use crate::protocol::control::statistics::Statistics;
use crate::record::CountCheck;
use crate::scenario::Scenario;

/// A server and one of its models.
pub struct Target {
    /// A case that asks it.
    pub case: Point,
    /// The scenario as the cases of this target see it.
    pub scenario: Scenario,
    /// What the server describes, and what was found out.
    pub reached: Reached,
}

/// All targets of a run, in the order of its cases; at least one.
pub struct Targets(Vec<Target>);

impl Targets {
    /// Reaches every server, and checks that each agrees with the scenario. `None` when the user stopped it.
    ///
    /// # Errors
    /// A server cannot be reached, or does not take what the scenario asks for.
    pub async fn reach(scenario: &Scenario, plan: &Plan, stop: &watch::Receiver<bool>) -> Result<Option<Self>> {
        let mut targets: Vec<Target> = Vec::new();
        for case in plan.cases() {
            if targets.iter().any(|target| target.is_of(case)) {
                continue;
            }
            let cases: Vec<Point> = plan.cases().filter(|other| is_same(other, case)).cloned().collect();
            let mut scenario = scenario.target(case);
            connect::find(&mut scenario, stop).await;
            let reached = reach(&mut scenario, &cases, stop).await;
            let words = targets_words(case);
            // name the target if there are several
            let reached = if words.is_empty() { reached? } else { reached.with_context(|| words)? };
            let Some(reached) = reached else { return Ok(None) };
            targets.push(Target { case: case.clone(), scenario, reached });
        }
        Ok(Some(Targets(targets)))
    }

    /// The target of a case.
    pub fn of(&self, case: &Point) -> &Target {
        &self.0[self.place(case)]
    }

    /// The first target, which stands for the run if it is the only one.
    pub fn first(&self) -> &Target {
        &self.0[0]
    }

    /// The first of those that are the same model of the same server, however it is reached.
    pub fn counted(&self) -> impl Iterator<Item = &Target> {
        let is_first = |(place, target): &(usize, &Target)| {
            !self.0[..*place].iter().any(|other| is_counted_with(&other.case, &target.case))
        };
        self.0.iter().enumerate().filter(is_first).map(|(_, target)| target)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Target> {
        self.0.iter()
    }

    fn place(&self, case: &Point) -> usize {
        self.0.iter().position(|target| target.is_of(case)).unwrap_or(0)
    }

    /// Why the servers of some cases cannot be used now, after waiting for one that restarts.
    pub async fn unreachable(&self, cases: &[Point], stop: &watch::Receiver<bool>) -> Option<String> {
        for target in self.0.iter().filter(|target| cases.iter().any(|case| target.is_of(case))) {
            if let Some(reason) = unreachable(&target.scenario, &target.reached, stop).await {
                return Some(reason);
            }
        }
        None
    }
}

impl Target {
    /// Whether a case uses this target.
    pub fn is_of(&self, case: &Point) -> bool {
        is_same(&self.case, case)
    }
}

/// Whether two cases use the same model of the same server.
fn is_same(case: &Point, other: &Point) -> bool {
    is_counted_with(case, other) && case.tls == other.tls
}

/// Whether the same statistics of a server count the requests of two cases.
pub fn is_counted_with(case: &Point, other: &Point) -> bool {
    (&case.server, &case.model) == (&other.server, &other.model)
}

/// The first case of each server and model of a group.
pub fn first_of_targets(cases: &[Point]) -> Vec<&Point> {
    let mut first: Vec<&Point> = Vec::new();
    for case in cases {
        if !first.iter().any(|known| is_counted_with(known, case)) {
            first.push(case);
        }
    }
    first
}

fn targets_words(case: &Point) -> String {
    let named = |what: &str, name: &Option<Name>| name.as_ref().map(|name| format!("{what} \"{name}\""));
    let tls = case.tls.map(|tls| format!("tls = \"{tls}\""));
    let words = [named("server", &case.server), named("model", &case.model), tls];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Observes the servers' own statistics of each target.
pub struct Observers<'a>(Vec<Counted<'a>>);

struct Counted<'a> {
    /// The first target whose requests they count.
    target: &'a Target,
    observer: Observer<'a>,
    /// The statistics at the start of the run.
    before: Option<Statistics>,
    /// Items in answered requests of the rows, and while preparing.
    measured: u64,
    prepared: u64,
    /// What both sides counted before the model was loaded again.
    carried: CountCheck,
}

impl<'a> Observers<'a> {
    /// Reads the statistics that the run's counts start from.
    pub async fn begin(targets: &'a Targets, stop: &'a watch::Receiver<bool>) -> Self {
        let mut of = Vec::new();
        for target in targets.counted() {
            let mut observer = Observer::new(&target.scenario, stop);
            let before = observer.read(target.scenario.matrix.protocols()[0]).await;
            let carried = CountCheck { server: 0, measured: 0, prepared: 0 };
            of.push(Counted { target, observer, before, measured: 0, prepared: 0, carried });
        }
        Observers(of)
    }

    /// The observer of a case's target.
    pub fn of(&mut self, case: &Point) -> &mut Observer<'a> {
        &mut self.counted(case).observer
    }

    /// Counts no further until [`Observers::go_on`]: the server's counts are about to be lost.
    pub async fn pause(&mut self, case: &Point) {
        let counted = self.counted(case);
        let Some(before) = counted.before.take() else { return };
        if let Some(check) = counted.check(&before).await {
            counted.carried = sum(counted.carried, check);
            (counted.measured, counted.prepared) = (0, 0);
            counted.before = Some(before);
        }
    }

    /// Counts from now on; not if what came before could not be counted.
    pub async fn go_on(&mut self, case: &Point) {
        let counted = self.counted(case);
        if counted.before.is_some() {
            let protocol = counted.target.scenario.matrix.protocols()[0];
            counted.before = counted.observer.read(protocol).await;
        }
    }

    /// Notes items in answered requests of a case's row, and those while it was prepared.
    pub fn count(&mut self, case: &Point, measured: u64, prepared: u64) {
        let counted = self.counted(case);
        counted.measured += measured;
        counted.prepared += prepared;
    }

    fn counted(&mut self, case: &Point) -> &mut Counted<'a> {
        let place = self.0.iter().position(|counted| is_counted_with(&counted.target.case, case));
        &mut self.0[place.unwrap_or(0)]
    }

    /// Why there are no statistics, or no more.
    pub fn silence(&self) -> Option<String> {
        let mut reasons: Vec<String> = self.0.iter().filter_map(|counted| counted.observer.silence()).collect();
        reasons.dedup();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Compares the servers' counts with the client's: those of the first target that differs, or the sums over all.
    /// `None` if a server gives no counts.
    pub async fn check(&mut self) -> Option<CountCheck> {
        let mut all = CountCheck { server: 0, measured: 0, prepared: 0 };
        for counted in &mut self.0 {
            let before = counted.before.take()?;
            let check = sum(counted.carried, counted.check(&before).await?);
            if !check.agrees() {
                return Some(check);
            }
            all = sum(all, check);
        }
        Some(all)
    }
}

impl Counted<'_> {
    /// What both sides counted since `before`; `None` if the server gives no counts.
    async fn check(&mut self, before: &Statistics) -> Option<CountCheck> {
        let protocol = self.target.scenario.matrix.protocols()[0];
        self.observer.count_check(protocol, before, self.measured, self.prepared).await
    }
}

fn sum(one: CountCheck, other: CountCheck) -> CountCheck {
    CountCheck {
        server: one.server + other.server,
        measured: one.measured + other.measured,
        prepared: one.prepared + other.prepared,
    }
}
