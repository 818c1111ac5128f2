//! The due times of an open loop's requests. Must not know clocks, connections or recorders.

use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::message::{Arrivals, Block};
use crate::scenario::ArrivalProcess;
use crate::scenario::arrival::{Distances, Ramp, Stage, ramps, requests_until};

/// Due times of the requests of one process in a block, in nanoseconds from its start, in order. Neither the memory for drawing them nor the
/// time to the first grows with their number; those of a file are held as they came with the job.
pub struct Schedule {
    due: Due,
    next: u64,
    count: u64,
    length_ns: u64,
}

enum Due {
    Drawn(Box<Drawn>),
    Listed(Arc<[u64]>),
}

/// Instants in two steps: places of requests among all requests of the block, then when each place comes.
struct Drawn {
    places: Places,
    course: Course,
}

impl Schedule {
    /// The same block and arrivals always give the same schedule.
    ///
    /// Drawn requests are conditioned on their number: as many as the rate allows for the block's time fall into it, so that the rate is
    /// exactly the requested one, not a random one.
    pub fn new(arrival: &ArrivalProcess, block: &Block, arrivals: &Arrivals) -> Self {
        let Arrivals { rate, process, processes, .. } = *arrivals;
        let steady = |distances: Distances, course: Course| {
            let count = block.scheduled(arrivals);
            let all = count * u64::from(processes);
            let places = Places::new(distances, arrivals, (count, all), all as f64);
            let due = Due::Drawn(Box::new(Drawn { places, course }));
            Schedule { due, next: 0, count, length_ns: arrivals.length_ns(count) as u64 }
        };
        match arrival {
            ArrivalProcess::Steady(distances) => steady(*distances, Course::Steady { ns: 1e9 / rate }),
            ArrivalProcess::OnOff { on_s, off_s } => {
                let period_s = on_s + off_s;
                let on_off = Course::OnOff { requests: rate * period_s, on_ns: on_s * 1e9, period_ns: period_s * 1e9 };
                steady(Distances::Exponential, on_off)
            }
            ArrivalProcess::Stages { stages, distances } => Self::staged(stages, *distances, block.stop.most, arrivals),
            ArrivalProcess::File(file) => {
                let most_ns = block.stop.most.map_or(u64::MAX, |most| most.as_nanos() as u64);
                let count = file.due_ns.partition_point(|due_ns| *due_ns < most_ns) as u64;
                // the first request of a block is always sent
                let count = if process == 0 { count.max(1).min(file.due_ns.len() as u64) } else { count };
                Schedule {
                    due: Due::Listed(file.due_ns.clone()),
                    next: 0,
                    count,
                    length_ns: file.length_ns.min(most_ns),
                }
            }
        }
    }

    fn staged(stages: &[Stage], distances: Distances, most: Option<Duration>, arrivals: &Arrivals) -> Self {
        let Arrivals { process, processes, .. } = *arrivals;
        let ramps = ramps(stages);
        let whole_s = ramps.last().map_or(0.0, |last| last.start_s + last.duration_s);
        let length_s = most.map_or(whole_s, |most| whole_s.min(most.as_secs_f64()));
        let area = requests_until(&ramps, length_s);
        let all = (area.round() as u64).max(1);
        // in turn
        let count = (all + u64::from(processes - process) - 1) / u64::from(processes);
        let mut places = Places::new(distances, arrivals, (count, all), area);
        // in the middle of the time in which one request is due: none falls into a stage without any
        places.first = 0.5;
        let due = Due::Drawn(Box::new(Drawn { places, course: Course::Stages { ramps, at: 0 } }));
        Schedule { due, next: 0, count, length_ns: (length_s * 1e9) as u64 }
    }

    /// How many there are in all.
    pub fn requests(&self) -> u64 {
        self.count
    }

    /// The time over which they are spread, in nanoseconds.
    pub fn length_ns(&self) -> u64 {
        self.length_ns
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.next == self.count {
            return None;
        }
        let due_ns = match &mut self.due {
            Due::Drawn(drawn) => drawn.course.instant_ns(drawn.places.place(self.next)) as u64,
            Due::Listed(due_ns) => *due_ns.get(self.next as usize)?,
        };
        self.next += 1;
        Some(due_ns)
    }
}

/// The places of one process's requests, as numbers of requests before them, all processes together.
struct Places {
    distances: Distances,
    generator: ChaCha8Rng,
    /// How many draws make one place: of a process alone, or of all in turn.
    stride: u64,
    /// Draws before the first place.
    skipped: u64,
    /// Arrivals that are not drawn yet.
    left: u64,
    /// The part of all places that is after those that are drawn.
    rest: f64,
    end: f64,
    /// The place of the first of all, where distances are equal.
    first: f64,
    processes: u64,
    process: u64,
}

impl Places {
    /// Of `count` requests of this process among `all`, over places up to `end`.
    fn new(distances: Distances, arrivals: &Arrivals, (count, all): (u64, u64), end: f64) -> Self {
        let Arrivals { seed, block, process, processes, .. } = *arrivals;
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        // independent arrivals of processes are so together too; others are drawn for all of them, and processes take turns
        let is_shared = matches!(distances, Distances::Gamma { .. });
        let stream = if is_shared { 0 } else { process };
        // processes and blocks have their own streams; protocols share them
        generator.set_stream((u64::from(block) << 32) | u64::from(stream));
        let left = if is_shared { all } else { count };
        let (process, processes) = (u64::from(process), u64::from(processes));
        let (stride, skipped) = if is_shared { (processes, process) } else { (1, 0) };
        Places {
            distances,
            generator,
            stride,
            skipped,
            left,
            rest: 1.0,
            end,
            first: 0.0,
            processes,
            process,
        }
    }

    /// The place of request number `number`; they are asked for in order.
    fn place(&mut self, number: u64) -> f64 {
        if self.distances == Distances::Constant {
            // processes take turns, so that together they arrive at equal distances
            return (number * self.processes + self.process) as f64 + self.first;
        }
        let draws = if number == 0 { self.skipped + 1 } else { self.stride };
        for _ in 0..draws {
            self.rest *= 1.0 - self.part();
            self.left = self.left.saturating_sub(1);
        }
        (1.0 - self.rest) * self.end
    }

    /// The next distance as a part of the rest, of which it is one of `left + 1` alike: those of the arrivals that are left, and what is left
    /// after the last. A gamma variable over its sum with others is beta distributed, which needs no sum of all draws beforehand.
    fn part(&mut self) -> f64 {
        let left = self.left as f64;
        match self.distances {
            Distances::Constant => 0.0,
            // beta of shape 1, by its inverse distribution
            Distances::Exponential => -(-exponential(&mut self.generator) / left).exp_m1(),
            Distances::Gamma { shape } => {
                let next = gamma(shape, &mut self.generator);
                let sum = next + gamma(shape * left, &mut self.generator);
                // of a very small shape both may be too small for a number
                if sum > 0.0 { next / sum } else { 0.0 }
            }
        }
    }
}

/// When each place comes.
enum Course {
    /// At one rate.
    Steady {
        /// Nanoseconds of a request.
        ns: f64,
    },
    /// Only while on.
    OnOff {
        /// Requests of a period.
        requests: f64,
        on_ns: f64,
        period_ns: f64,
    },
    /// In stages.
    Stages {
        ramps: Vec<Ramp>,
        /// The one of the last place.
        at: usize,
    },
}

impl Course {
    /// Nanoseconds from the block's start; places are asked for in order.
    fn instant_ns(&mut self, place: f64) -> f64 {
        match self {
            Course::Steady { ns } => place * *ns,
            Course::OnOff { requests, on_ns, period_ns } => {
                let periods = (place / *requests).floor();
                periods * *period_ns + (place / *requests - periods) * *on_ns
            }
            Course::Stages { ramps, at } => {
                while *at + 1 < ramps.len() && ramps[*at].end() <= place {
                    *at += 1;
                }
                ramps.get(*at).map_or(0.0, |ramp| ramp.instant_s(place) * 1e9)
            }
        }
    }
}

/// An exponential deviate of mean 1.
fn exponential(generator: &mut ChaCha8Rng) -> f64 {
    -(1.0 - generator.random::<f64>()).ln()
}

/// A gamma deviate of a shape and scale 1. Source: G. Marsaglia and W. W. Tsang, A simple method for generating gamma variables, 2000.
fn gamma(shape: f64, generator: &mut ChaCha8Rng) -> f64 {
    if shape < 1.0 {
        let uniform = 1.0 - generator.random::<f64>();
        return gamma(shape + 1.0, generator) * uniform.powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let normal = normal(generator);
        let v = (1.0 + c * normal).powi(3);
        let uniform = 1.0 - generator.random::<f64>();
        if v > 0.0 && uniform.ln() < 0.5 * normal * normal + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// A standard normal deviate, by the method of Box and Muller.
fn normal(generator: &mut ChaCha8Rng) -> f64 {
    let angle = std::f64::consts::TAU * generator.random::<f64>();
    (2.0 * exponential(generator)).sqrt() * angle.cos()
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
