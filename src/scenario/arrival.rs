//! How the requests of an open loop arrive: at distances drawn at one rate, in phases, along a course of stages, or as a file says. Pure;
//! must not know how they are sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::matrix::Arrival;

/// How requests of all processes together arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalProcess {
    /// At the case's rate.
    Steady(Distances),
    /// Independently of each other while on, and not at all while off. The case's rate is the mean over on and off.
    OnOff {
        /// Seconds.
        on_s: f64,
        /// Seconds.
        off_s: f64,
    },
    /// At a rate that changes; a block is all of its stages.
    Stages {
        /// In order.
        stages: Vec<Stage>,
        /// Distances where the rate is one.
        distances: Distances,
    },
    /// At recorded instants; a block is all of them.
    File(ArrivalFile),
}

impl Default for ArrivalProcess {
    fn default() -> Self {
        ArrivalProcess::Steady(Distances::Constant)
    }
}

/// How distances between requests are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distances {
    /// All are equal.
    Constant,
    /// Exponential: arrivals are independent of each other, a Poisson process.
    Exponential,
    /// Gamma of this shape: 1 is exponential, less has bursts, more is more regular. The variance of distances over their squared mean is
    /// 1 / shape.
    Gamma {
        /// The shape.
        shape: f64,
    },
}

/// A part of a course, in which the rate goes evenly from that of the stage before, at first 0, to its target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Seconds; 0 is a step.
    pub duration_s: f64,
    /// Requests a second at its end, all processes together.
    pub target: f64,
}

/// A stage with the rates at its ends, and what is before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// Requests a second at its start.
    pub from: f64,
    /// Requests a second at its end.
    pub to: f64,
    /// Seconds; more than 0.
    pub duration_s: f64,
    /// Seconds from the course's start.
    pub start_s: f64,
    /// Requests before it.
    pub before: f64,
}

impl Ramp {
    /// Requests from its start until `seconds` after it.
    fn requests(&self, seconds: f64) -> f64 {
        (self.from + (self.to - self.from) * seconds / self.duration_s / 2.0) * seconds
    }

    /// Requests before its end.
    pub fn end(&self) -> f64 {
        self.before + self.requests(self.duration_s)
    }

    /// The seconds from the course's start after which so many requests were due, if that is in this stage; else its nearer end.
    pub fn instant_s(&self, requests: f64) -> f64 {
        let within = (requests - self.before).max(0.0);
        let slope = (self.to - self.from) / self.duration_s;
        // the solution of `requests` that has no difference of like numbers
        let speed = self.from + (self.from * self.from + 2.0 * slope * within).max(0.0).sqrt();
        let seconds = if speed > 0.0 { 2.0 * within / speed } else { 0.0 };
        self.start_s + seconds.min(self.duration_s)
    }
}

/// The stages that take time.
pub fn ramps(stages: &[Stage]) -> Vec<Ramp> {
    let mut ramps: Vec<Ramp> = Vec::new();
    let (mut from, mut start_s, mut before) = (0.0, 0.0, 0.0);
    for Stage { duration_s, target } in stages.iter().copied() {
        if duration_s > 0.0 {
            let ramp = Ramp { from, to: target, duration_s, start_s, before };
            (start_s, before) = (start_s + duration_s, ramp.end());
            ramps.push(ramp);
        }
        from = target;
    }
    ramps
}

/// Requests of a course until an instant, in seconds from its start; no integer.
pub fn requests_until(ramps: &[Ramp], instant_s: f64) -> f64 {
    let of = |ramp: &Ramp| ramp.requests((instant_s - ramp.start_s).clamp(0.0, ramp.duration_s));
    ramps.iter().map(of).sum()
}

/// Instants from a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrivalFile {
    /// Its absolute path.
    #[serde(skip)]
    pub path: PathBuf,
    /// What the scenario says of it.
    #[serde(skip)]
    pub words: String,
    /// Nanoseconds from a block's start, in order. On the way to a worker their distances, which are shorter.
    #[serde(with = "distances")]
    pub due_ns: Arc<[u64]>,
    /// The time over which they are spread, in nanoseconds.
    pub length_ns: u64,
}

impl ArrivalProcess {
    /// Its word in files.
    pub fn word(&self) -> Arrival {
        match self {
            ArrivalProcess::Steady(Distances::Constant) => Arrival::Constant,
            ArrivalProcess::Steady(Distances::Exponential) => Arrival::Poisson,
            ArrivalProcess::Steady(Distances::Gamma { .. }) => Arrival::Gamma,
            ArrivalProcess::OnOff { .. } => Arrival::OnOff,
            ArrivalProcess::Stages { .. } => Arrival::Stages,
            ArrivalProcess::File(_) => Arrival::File,
        }
    }

    /// Its numbers in words: `shape 0.5`, `1 s on, 4 s off`, `to 200/s in 30 s, to 50/s at once`; empty if the word says all.
    pub fn detail(&self) -> String {
        let of_distances = |distances: &Distances| match distances {
            Distances::Constant => String::new(),
            Distances::Exponential => "Poisson".to_owned(),
            Distances::Gamma { shape } => format!("gamma of shape {shape}"),
        };
        match self {
            ArrivalProcess::Steady(Distances::Gamma { shape }) => format!("shape {shape}"),
            ArrivalProcess::Steady(_) => String::new(),
            ArrivalProcess::OnOff { on_s, off_s } => format!("{on_s} s on, {off_s} s off"),
            ArrivalProcess::Stages { stages, distances } => {
                let stage = |Stage { duration_s, target }: &Stage| match *duration_s {
                    0.0 => format!("to {target}/s at once"),
                    seconds => format!("to {target}/s in {seconds} s"),
                };
                let words = stages.iter().map(stage).chain([of_distances(distances)]);
                words.filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ")
            }
            ArrivalProcess::File(file) => file.words.clone(),
        }
    }

    /// Its stages that take time; empty if it has none.
    pub fn ramps(&self) -> Vec<Ramp> {
        match self {
            ArrivalProcess::Stages { stages, .. } => ramps(stages),
            _ => Vec::new(),
        }
    }

    /// When they end, from a block's start.
    pub fn stage_ends(&self) -> Vec<Duration> {
        let end = |ramp: &Ramp| Duration::from_secs_f64(ramp.start_s + ramp.duration_s);
        self.ramps().iter().map(end).collect()
    }

    /// The file that it is read from.
    pub fn file(&self) -> Option<&Path> {
        match self {
            ArrivalProcess::File(file) => Some(&file.path),
            _ => None,
        }
    }

    /// The keys of the scenario that say when a block ends; `None` if it may be of any length.
    pub fn key_of_length(&self) -> Option<&'static str> {
        match self {
            ArrivalProcess::Steady(_) | ArrivalProcess::OnOff { .. } => None,
            ArrivalProcess::Stages { .. } => Some("stages"),
            ArrivalProcess::File(_) => Some("arrivals"),
        }
    }

    /// How long a block is; `None` if it may be of any length.
    pub fn length(&self) -> Option<Duration> {
        match self {
            ArrivalProcess::Steady(_) | ArrivalProcess::OnOff { .. } => None,
            ArrivalProcess::Stages { stages, .. } => {
                Some(Duration::from_secs_f64(stages.iter().map(|stage| stage.duration_s).sum()))
            }
            ArrivalProcess::File(file) => Some(Duration::from_nanos(file.length_ns)),
        }
    }

    /// Requests of a block, of all processes together; `None` if there may be any number.
    pub fn requests(&self) -> Option<u64> {
        match self {
            ArrivalProcess::Steady(_) | ArrivalProcess::OnOff { .. } => None,
            ArrivalProcess::Stages { stages, .. } => Some(requests_until(&ramps(stages), f64::INFINITY).round() as u64),
            ArrivalProcess::File(file) => Some(file.due_ns.len() as u64),
        }
    }

    /// Requests a second over a block, to six digits; `None` if the case says so.
    pub fn mean_rate(&self) -> Option<f64> {
        let requests = match self {
            ArrivalProcess::Stages { stages, .. } => requests_until(&ramps(stages), f64::INFINITY),
            _ => self.requests()? as f64,
        };
        let rate = requests / self.length()?.as_secs_f64();
        // it stands in names
        format!("{rate:.5e}").parse().ok()
    }

    /// The shortest block that has all of its phases.
    pub fn period(&self) -> Option<Duration> {
        match self {
            ArrivalProcess::OnOff { on_s, off_s } => Some(Duration::from_secs_f64(on_s + off_s)),
            _ => self.length(),
        }
    }

    /// What one of some processes has to know of it: of instants its own, as they take turns.
    pub fn of_process(&self, process: u32, processes: u32) -> ArrivalProcess {
        match self {
            ArrivalProcess::File(file) => {
                let own = file.due_ns.iter().skip(process as usize).step_by(processes.max(1) as usize);
                ArrivalProcess::File(ArrivalFile { due_ns: own.copied().collect(), ..file.clone() })
            }
            other => other.clone(),
        }
    }
}

/// Instants as their distances.
mod distances {
    use super::{Arc, Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(instants: &Arc<[u64]>, serializer: S) -> Result<S::Ok, S::Error> {
        let before = std::iter::once(0).chain(instants.iter().copied());
        serializer.collect_seq(instants.iter().zip(before).map(|(instant, before)| instant.saturating_sub(before)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u64]>, D::Error> {
        let mut instants = Vec::<u64>::deserialize(deserializer)?;
        let mut sum = 0_u64;
        for instant in &mut instants {
            sum = sum.saturating_add(*instant);
            *instant = sum;
        }
        Ok(instants.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: [Stage; 5] = [
        Stage { duration_s: 30.0, target: 200.0 },
        Stage { duration_s: 60.0, target: 200.0 },
        Stage { duration_s: 0.0, target: 50.0 },
        Stage { duration_s: 10.0, target: 0.0 },
        Stage { duration_s: 5.0, target: 0.0 },
    ];

    fn stages() -> ArrivalProcess {
        ArrivalProcess::Stages { stages: STAGES.to_vec(), distances: Distances::Constant }
    }

    #[test]
    fn stages_have_the_area_below_their_rates() {
        let ramps = ramps(&STAGES);
        assert_eq!(ramps.len(), 4, "a step takes no time");
        for (instant_s, requests) in [
            (0.0, 0.0),
            (15.0, 750.0),
            (30.0, 3000.0),
            (90.0, 15_000.0),
            (95.0, 15_187.5),
            (100.0, 15_250.0),
            (1e9, 15_250.0),
        ] {
            assert!((requests_until(&ramps, instant_s) - requests).abs() < 1e-6, "{instant_s}");
        }
        // and back
        for ramp in &ramps[..3] {
            for part in [0.0, 0.1, 0.5, 1.0] {
                let instant_s = ramp.start_s + part * ramp.duration_s;
                let found = ramp.instant_s(requests_until(&ramps, instant_s));
                assert!((found - instant_s).abs() < 1e-5, "{ramp:?}: {found} instead of {instant_s}");
            }
        }
        assert_eq!((stages().requests(), stages().length()), (Some(15_250), Some(Duration::from_secs(105))));
        assert_eq!(stages().mean_rate(), Some(145.238));
        let ends = [30, 90, 100, 105].map(Duration::from_secs);
        assert_eq!((stages().stage_ends(), ArrivalProcess::default().stage_ends()), (ends.to_vec(), Vec::new()));
    }

    #[test]
    fn words_have_all_numbers() {
        let gamma = Distances::Gamma { shape: 0.5 };
        assert_eq!(ArrivalProcess::Steady(gamma).detail(), "shape 0.5");
        assert_eq!(ArrivalProcess::OnOff { on_s: 1.0, off_s: 4.0 }.detail(), "1 s on, 4 s off");
        let stages = ArrivalProcess::Stages { stages: STAGES[1..3].to_vec(), distances: gamma };
        assert_eq!(stages.detail(), "to 200/s in 60 s, to 50/s at once, gamma of shape 0.5");
        assert_eq!(ArrivalProcess::default().detail(), "");
    }

    #[test]
    fn processes_share_the_instants_of_a_file_in_turn_and_a_message_keeps_them() {
        let due_ns: Arc<[u64]> = [0, 5, 5, 9, 1_000_000_000_000].into();
        let file = ArrivalFile { path: "/a".into(), words: "a".to_owned(), due_ns, length_ns: 7 };
        let whole = ArrivalProcess::File(file);
        let shares = [0, 1].map(|process| whole.of_process(process, 2));
        let of = |share: &ArrivalProcess| match share {
            ArrivalProcess::File(file) => file.due_ns.to_vec(),
            _ => Vec::new(),
        };
        assert_eq!(shares.clone().map(|share| of(&share)), [vec![0, 5, 1_000_000_000_000], vec![5, 9]]);
        let message = serde_json::to_string(&shares[0]).unwrap();
        assert!(message.contains("[0,5,999999999995]"), "{message}");
        let read: ArrivalProcess = serde_json::from_str(&message).unwrap();
        assert_eq!((of(&read), read.length()), (of(&shares[0]), Some(Duration::from_nanos(7))));
    }
}
