//! Divides the time that a group of cases may take: over preparing them, over as many rounds as fit, and evenly over
//! their blocks. Must not know what is measured.

use std::time::{Duration, Instant};

use crate::scenario::{Load, WARMUP_PART};

/// Shortest time of a block, which still sends at least one request.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest warm-up until latencies are steady, if the time of a case is not limited.
pub const UNTIL_STEADY: Duration = Duration::from_secs(60);

/// Longest warm-up of a worker; `None` if nothing bounds it but what it asks for.
pub fn of_warmup(load: &Load) -> Option<Duration> {
    let Load { stop, warmup, .. } = load;
    let steady = warmup.steady.map(|_| UNTIL_STEADY.max(warmup.least.unwrap_or_default()));
    stop.most.map(|cap| cap / WARMUP_PART).or(steady)
}

/// The time of one try of a search.
pub struct TryTime(Instant);

impl TryTime {
    /// Starts now.
    pub fn begin() -> Self {
        TryTime(Instant::now())
    }

    /// What the try has taken.
    pub fn spent(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The time of a group of cases.
pub struct Budget {
    begin: Instant,
    cap: Option<Duration>,
    cases: u32,
    rounds: usize,
    done: usize,
    /// The budget of the current round, and when it began.
    current: Option<(RoundBudget, Instant)>,
    /// Total time that the rounds so far took beyond their blocks' time: new processes, the server's counts, requests
    /// in flight at the end of a block.
    beyond: Duration,
    /// Expected excess of the first round: one request of each case, as estimated from preparing.
    expected: Option<Duration>,
}

/// The time of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundBudget {
    /// Expected number of rounds in all, by the current estimate.
    pub rounds: usize,
    /// Longest time of a block; `None` if there is no limit.
    pub block: Option<Duration>,
}

impl Budget {
    /// Starts now, for `cases` cases of at most `cap` each, in at most `rounds` rounds.
    pub fn begin(cap: Option<Duration>, cases: usize, rounds: usize) -> Self {
        let cases = cases.max(1) as u32;
        let (begin, beyond) = (Instant::now(), Duration::ZERO);
        Budget { begin, cap, cases, rounds, done: 0, current: None, beyond, expected: None }
    }

    /// Notes that `done` rounds were measured before, when the group took `spent` in all, and its blocks `blocks` of that.
    pub fn resumed(&mut self, done: usize, spent: Duration, blocks: Duration) {
        self.begin = self.begin.checked_sub(spent).unwrap_or(self.begin);
        self.done = done;
        self.beyond = spent.saturating_sub(blocks);
    }

    /// What the group has taken of its time.
    pub fn spent(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Notes that the cases are prepared; each sent `requests` requests one after the other.
    pub fn prepared(&mut self, requests: u64) {
        let request = self.begin.elapsed() / u32::try_from(requests.max(1)).unwrap_or(u32::MAX);
        self.expected = Some(request * self.cases);
    }

    /// The budget of the next round; `None` once all are done or time has run out. The first is always measured. Where all blocks are of
    /// one `length`, none but those of the first round are cut.
    pub fn next(&mut self, length: Option<Duration>) -> Option<RoundBudget> {
        let now = Instant::now();
        let mut told = 1;
        if let Some((share, begun)) = self.current.take() {
            told = share.rounds;
            self.done += 1;
            self.beyond += (now - begun).saturating_sub(share.block.unwrap_or_default() * self.cases);
        }
        let share = match self.cap {
            None => (self.done < self.rounds).then_some(RoundBudget { rounds: self.rounds, block: None }),
            Some(cap) => {
                let left = (cap * self.cases).saturating_sub(now - self.begin);
                if let Some(length) = length {
                    let share = whole(left / self.cases, length, (self.done, self.rounds))?;
                    self.current = Some((share, now));
                    return Some(share);
                }
                let mean = u32::try_from(self.done).ok().and_then(|done| self.beyond.checked_div(done));
                share(left, self.cases, (self.done, told, self.rounds), mean.or(self.expected))
            }
        }?;
        self.current = Some((share, now));
        Some(share)
    }
}

/// The next round's part of the time `left` of each case, after `done` of at most `rounds` rounds, if blocks take `length`.
fn whole(left: Duration, length: Duration, (done, rounds): (usize, usize)) -> Option<RoundBudget> {
    let planned = rounds.checked_sub(done).filter(|planned| *planned > 0)?;
    let fitting = (left.as_nanos() / length.as_nanos().max(1)).min(planned as u128) as usize;
    if fitting == 0 && done > 0 {
        return None;
    }
    Some(RoundBudget { rounds: done + fitting.max(1), block: Some(left.max(SHORTEST)) })
}

/// The next round's part of the time `left`, after `done` of at most `rounds` rounds of `cases` cases, which on
/// average took `beyond` more than their blocks. If more rounds were announced (`told`), there is one more.
fn share(
    left: Duration,
    cases: u32,
    (done, told, rounds): (usize, usize, usize),
    beyond: Option<Duration>,
) -> Option<RoundBudget> {
    let planned = rounds.checked_sub(done).filter(|planned| *planned > 0)?;
    let (fitting, beyond) = match beyond {
        None => (planned, Duration::ZERO),
        // no round is shorter than that; rounding their number to the nearest ends as near to the limit as possible
        Some(beyond) => {
            let fitting = left.as_secs_f64() / beyond.as_secs_f64().max(1e-9);
            ((fitting.round() as usize).min(planned), beyond)
        }
    };
    let fitting = if told > done { fitting.max(1) } else { fitting };
    let rounds = u32::try_from(fitting).ok().filter(|rounds| *rounds > 0)?;
    let even = left / rounds;
    // a round that took long by chance, or because a server had to catch up, must not leave nothing for the next
    let block = even.saturating_sub(beyond).max(even / 2) / cases;
    Some(RoundBudget { rounds: done + fitting, block: Some(block.max(SHORTEST)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// The number of rounds of two cases, and the time of each case, if a block sends requests of `request_ms` until
    /// its time is over, and needs `extra_ms` around them.
    fn spent(cap_ms: u64, prepared_ms: u64, request_ms: u64, extra_ms: u64, rounds: usize) -> (usize, u64) {
        let (total, mut elapsed) = (ms(2 * cap_ms), ms(prepared_ms));
        let (mut done, mut beyond, mut sum) = (0, Some(2 * ms(request_ms)), Duration::ZERO);
        let (mut told, mut promised) = (Vec::new(), 1);
        while let Some(RoundBudget { rounds, block }) =
            share(total.saturating_sub(elapsed), 2, (done, promised, rounds), beyond)
        {
            let block = block.unwrap();
            let requests = (block.as_micros() as u64).div_ceil(1000 * request_ms).max(1);
            let took = 2 * ms(requests * request_ms + extra_ms);
            (elapsed, done, sum) = (elapsed + took, done + 1, sum + took.saturating_sub(2 * block));
            beyond = Some(sum / done as u32);
            told.push(rounds);
            promised = rounds;
        }
        assert_eq!(told.last(), Some(&done), "what is said in the end is what was measured");
        (done, elapsed.as_millis() as u64 / 2)
    }

    #[test]
    fn a_fast_model_uses_its_time_and_has_all_of_its_blocks() {
        for (request_ms, extra_ms) in [(1, 0), (1, 30), (10, 30), (50, 20)] {
            let (rounds, took) = spent(3000, 400, request_ms, extra_ms, 10);
            assert_eq!(rounds, 10, "{request_ms} ms");
            assert!((2900..=3100).contains(&took), "{request_ms} ms: {took} ms");
        }
    }

    #[test]
    fn a_slow_one_has_as_many_as_fit() {
        // a request takes more than a tenth of the time
        for (request_ms, least) in [(200, 6), (350, 5), (600, 3), (1000, 2)] {
            let (rounds, took) = spent(3000, 2 * request_ms, request_ms, 20, 10);
            assert!(rounds >= least, "{request_ms} ms: {rounds} rounds");
            assert!(took <= 3000 + request_ms * 11 / 10, "{request_ms} ms: {took} ms");
        }
        // one is always measured
        assert_eq!(spent(3000, 6000, 5000, 20, 10).0, 1);
        assert_eq!(spent(2000, 1500, 1500, 20, 10), (1, 2270));
    }

    #[test]
    fn without_time_to_spare_the_blocks_are_short_and_not_none() {
        assert_eq!(share(Duration::ZERO, 2, (0, 1, 10), None), Some(RoundBudget { rounds: 10, block: Some(SHORTEST) }));
        assert_eq!(share(Duration::ZERO, 2, (1, 1, 10), Some(ms(5))), None);
        assert_eq!(share(ms(6000), 2, (10, 10, 10), Some(ms(5))), None);
        assert_eq!(share(ms(6000), 2, (0, 1, 10), None), Some(RoundBudget { rounds: 10, block: Some(ms(300)) }));
        assert_eq!(share(ms(900), 1, (7, 7, 10), Some(ms(400))), Some(RoundBudget { rounds: 9, block: Some(ms(225)) }));
        assert_eq!(
            share(ms(900), 1, (7, 7, 10), Some(Duration::ZERO)),
            Some(RoundBudget { rounds: 10, block: Some(ms(300)) })
        );
    }

    #[test]
    fn blocks_of_one_length_are_whole_or_the_only_one() {
        let of =
            |left_ms, done| whole(ms(left_ms), ms(1000), (done, 10)).map(|share| (share.rounds, share.block.unwrap()));
        assert_eq!(of(60_000, 0), Some((10, ms(60_000))));
        assert_eq!(of(3700, 0), Some((3, ms(3700))));
        assert_eq!(of(2600, 1), Some((3, ms(2600))));
        assert_eq!(of(999, 3), None);
        assert_eq!(of(60_000, 10), None);
        // one is always measured
        assert_eq!(of(400, 0), Some((1, ms(400))));
        assert_eq!(of(0, 0), Some((1, SHORTEST)));
    }

    #[test]
    fn without_a_longest_time_all_rounds_are_measured() {
        let mut budget = Budget::begin(None, 2, 3);
        let all: Vec<RoundBudget> = std::iter::from_fn(|| budget.next(None)).collect();
        assert_eq!(all, [RoundBudget { rounds: 3, block: None }; 3]);
    }
}
