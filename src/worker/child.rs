//! A worker process: connects, verifies, warms up, and measures blocks on the parent's command. Must not know plans,
//! records or results.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::block_run::{BlockRun, SERVER_WAIT, pause_after};
use super::deadline::DeadlineTimer;
use super::generator::{ClientContext, LoadGenerator, too_late};
use super::message::{Block, BlockDone, Draw, FromWorker, Job, Offered, Prepared, ToWorker, Usage};
use super::pace::PreciseTimer;
use super::references::References;
use super::requests::{Order, Requests};
use super::schedule::Schedule;
use super::spec::{Prepared as PreparedRequest, RequestSpec, id_agrees};
use super::timeline::{self, Timeline};
use crate::clock;
use crate::matrix::{Encode, Protocol};
use crate::process::outlive_signals;
use crate::protocol::headers::Destination;
use crate::protocol::infer::grpc::Grpc;
use crate::protocol::infer::http::Http;
use crate::protocol::verify::{has_fixed_sizes, verify};
use crate::protocol::{Fault, FaultKind, InferClient, Reply};
use crate::recorder::Part;
use crate::scenario::{ArrivalProcess, StopRule, Warmup};
use crate::tensor::HELD_BYTES_MAX;

/// Attempts at a request that the server answers with an error or a wrong answer, which may happen occasionally.
const VERIFY_ATTEMPTS: u32 = 3;

/// What a distinct request takes beside its bytes, at most: its place, its pattern.
const BESIDE_BYTES: u64 = 512;

/// How often a worker checks whether its timer is late.
const TICK: Duration = Duration::from_millis(100);
/// A heartbeat is sent after this many ticks: once a second.
const TICKS: u32 = 10;

/// Handles the parent's messages on standard input until it closes.
///
/// # Errors
/// A message that cannot be parsed, or a parent that is gone.
pub fn run() -> Result<()> {
    let runtime = timeline::runtime()?;
    let (sender, mut messages) = mpsc::unbounded_channel();
    // its own thread: it sleeps in read while requests are timed, and notices at once if the parent is gone
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    runtime.block_on(async {
        let _outlived = outlive_signals();
        let first = messages.recv().await.context("the parent said nothing")?;
        let ToWorker::Job(job) = serde_json::from_str(&first)? else {
            bail!("expected a job first")
        };
        match job.protocol {
            Protocol::Http => run_job::<Http>(job, &mut messages).await,
            Protocol::Grpc => run_job::<Grpc>(job, &mut messages).await,
        }
    })
}

async fn run_job<D: InferClient + 'static>(job: Job, messages: &mut mpsc::UnboundedReceiver<String>) -> Result<()> {
    let mut generator = match prepare::<D>(&job).await {
        Ok((generator, prepared)) => {
            send(&FromWorker::Ready(prepared))?;
            generator
        }
        Err(fault) => return send(&FromWorker::Failed(fault)),
    };
    while let Some(line) = messages.recv().await {
        let answer = match serde_json::from_str(&line)? {
            ToWorker::Block(block) => FromWorker::Done(measure(&mut generator, &job.arrival, block).await?),
            ToWorker::Log(ask) => FromWorker::Log(generator.log.answer(ask)),
            ToWorker::Job(_) => bail!("expected a block"),
        };
        send(&answer)?;
    }
    Ok(())
}

/// Connects, verifies an answer and warms up. Returns the load generator, and what that took.
async fn prepare<D: InferClient + 'static>(job: &Job) -> Result<(LoadGenerator<D>, Prepared), Fault> {
    let begin = Instant::now();
    // a header whose value is missing is told before anything connects
    let to = Destination::new(&job.address)?;
    let (mut requests, repeats) = encoded::<D>(job, &to)?;
    let first = requests[0].encoded.clone();
    let limit = Duration::from_millis(job.timeout_ms);
    let beat = tokio::task::spawn_local(heartbeat(|| 0.0, Rc::default()));
    let alone = job.connections == job.concurrency;
    let timelines: Vec<_> = (0..job.connections).map(|_| Rc::new(Timeline::new(alone))).collect();
    let connections: Vec<_> = timelines.iter().map(|timeline| D::connection(&to, timeline.clone())).collect();
    let places = timelines.iter().zip(&connections).cycle().take(job.concurrency as usize);
    let mut clients: Vec<_> = places
        .map(|(timeline, connection)| {
            let timeline = if alone { timeline.clone() } else { Rc::new(Timeline::new(alone)) };
            (D::new(connection.clone(), first.clone(), timeline.clone()), timeline)
        })
        .collect();
    // the clients hold the job's content
    drop((first, connections));
    let mut tries = Tries::default();
    let count = requests.len();
    let asked = Cell::new(Instant::now());
    let (pattern, references) = tries
        .until_good(&mut clients[0].0, async |client| {
            asked.set(Instant::now());
            verified(client, job, &requests, repeats, limit).await
        })
        .await?;
    let first = asked.get().elapsed();
    for (client, _) in &mut clients {
        tries.until_good(client, async |client| in_time(limit, client.connect()).await).await?;
        if let Some(pattern) = &pattern {
            client.follow(Some(pattern.clone()));
        }
    }
    if count > 1 || references.is_some() {
        // most requests differ in values alone; what differs in more is learned from its first answer
        let like_the_first = if job.request_ids { 1 } else { count };
        requests[..like_the_first]
            .iter_mut()
            .for_each(|request| request.pattern = RefCell::new(pattern.clone()));
    }
    let spec = Rc::new(RequestSpec {
        expected: job.outputs.clone(),
        requests,
        order: RefCell::new(Order::new(count, Draw::default())),
        encoded_for: (job.encode == Encode::EachRequest).then_some(to),
        references,
        verify_every: job.verify_every.max(1),
        unverified: Cell::default(),
    });
    let answered = if job.verify_all { all_verified(&mut clients[0].0, &spec, limit).await? } else { 1 };
    let mut deadlines = DeadlineTimer::new(limit);
    let context = |(place, (client, timeline))| ClientContext {
        client,
        timeline,
        connection: place % job.connections,
        deadline: deadlines.deadline(),
        spec: spec.clone(),
        is_lost: false,
    };
    let contexts = (0..).zip(clients).map(context).collect();
    tokio::task::spawn_local(deadlines.keep());
    let timer = PreciseTimer::new();
    let mut generator = LoadGenerator {
        contexts,
        timelines,
        timer,
        recorder: Rc::default(),
        stages: Rc::default(),
        log: Rc::default(),
        spec,
    };
    // if verifying took all of that time, the worker is warm enough
    let cap = job.warmup_cap_ms.map(|cap| Duration::from_millis(cap).saturating_sub(begin.elapsed()));
    let warmup = if cap == Some(Duration::ZERO) { Warmup::default() } else { job.warmup };
    let stop = StopRule { requests: warmup.requests, least: warmup.least, most: cap };
    let begin = Instant::now();
    let block_run = Rc::new(BlockRun::new(stop, generator.recorder.clone()).until_steady(begin, warmup.steady));
    // open-loop requests do not wait for answers, and must not pile up during warm-up
    let at_once = if job.open_loop { 1 } else { generator.contexts.len() };
    generator.closed(&block_run, at_once, Duration::ZERO, begin).await;
    let warmed_up = begin.elapsed();
    beat.abort();
    if let (true, Some(fault)) = (block_run.aborted.get(), block_run.example.take()) {
        return Err(Fault { message: format!("the warmup failed: {}", fault.message), ..fault });
    }
    let prepared = Prepared {
        requests: block_run.recorder().count() + answered,
        errors: block_run.recorder().error_count() + u64::from(tries.failed),
        distinct: count as u64,
        warmed_up,
        is_unsteady: job.warmup.steady.is_some() && !(warmup.steady.is_some() && block_run.is_steady()),
        first,
        settled: block_run.settled(),
    };
    Ok((generator, prepared))
}

/// The distinct requests of a job, encoded, at least one; and after how many items the inputs begin again.
fn encoded<D: InferClient>(job: &Job, to: &Destination) -> Result<(Vec<PreparedRequest<D>>, Option<u64>), Fault> {
    let of_data = |error: anyhow::Error| Fault::new(FaultKind::Answer, format!("{error:#}"));
    let mut source = Requests::of(job).map_err(of_data)?;
    let mut requests = Vec::new();
    let mut held = 0;
    while let Some(request) = source.next().map_err(of_data)? {
        let encoded = D::encode(to, &request)?;
        let tensors: u64 = request.inputs.iter().map(|input| input.bytes.len() as u64).sum();
        let id = request.id.clone();
        let request = (job.encode == Encode::EachRequest).then_some(request);
        held += D::encoded_bytes(&encoded) + request.as_ref().map_or(0, |_| tensors) + BESIDE_BYTES;
        if held > HELD_BYTES_MAX && !requests.is_empty() {
            let Some(distinct) = job.distinct else { break };
            let most = HELD_BYTES_MAX >> 20;
            let words = format!(
                "{distinct} distinct requests take more than the {most} MiB that a process holds: lower distinct in [load]"
            );
            return Err(Fault::new(FaultKind::Unsupported, words));
        }
        requests.push(PreparedRequest { encoded, id, request, pattern: RefCell::default() });
    }
    Ok((requests, source.repeats()))
}

/// Attempts of a worker that prepares. Transient errors are waited out, as in a block.
#[derive(Default)]
struct Tries {
    failed: u32,
}

impl Tries {
    /// Returns the result of the first good attempt, or the most informative error if there is none.
    async fn until_good<D, T>(
        &mut self,
        client: &mut D,
        mut attempt: impl AsyncFnMut(&mut D) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let begin = Instant::now();
        let (mut failed, mut told) = (0, None::<Fault>);
        loop {
            let fault = match attempt(client).await {
                Ok(good) => return Ok(good),
                Err(fault) => fault,
            };
            failed += 1;
            self.failed += 1;
            let waited = begin.elapsed() >= SERVER_WAIT;
            let (lost, give_up) = match fault.kind {
                FaultKind::Connect | FaultKind::Transport => (true, waited),
                FaultKind::Unavailable => (false, waited),
                FaultKind::Timeout => (false, waited || failed >= VERIFY_ATTEMPTS),
                FaultKind::Server | FaultKind::Answer | FaultKind::Value => (false, failed >= VERIFY_ATTEMPTS),
                FaultKind::Unsupported => (false, true),
            };
            // the server's message is more informative than its closing of the connection afterwards
            let tells_most = told.take().filter(|_| lost).unwrap_or(fault);
            if give_up {
                return Err(tells_most);
            }
            told = (!matches!(tells_most.kind, FaultKind::Connect | FaultKind::Transport)).then_some(tells_most);
            sleep(pause_after(failed + 1)).await;
        }
    }
}

/// Sends the first of some requests and verifies its answer. Returns its pattern, unless its size varies with the values, and
/// what the content of answers is compared with.
async fn verified<D: InferClient>(
    client: &mut D,
    job: &Job,
    requests: &[PreparedRequest<D>],
    repeats: Option<u64>,
    limit: Duration,
) -> Result<(Option<Rc<D::Pattern>>, Option<References>), Fault> {
    match asked(client, limit).await? {
        Reply::Unread(unread) => {
            let pattern = D::pattern(&unread);
            let answer = D::read(unread)?;
            verify(&answer, &job.outputs)?;
            id_agrees(requests[0].id.as_deref(), &answer)?;
            let references = References::of(job, requests.len(), repeats, &answer)?;
            if let Some(references) = &references {
                references.check(0, &answer)?;
            }
            Ok((pattern.filter(|_| has_fixed_sizes(&answer)).map(Rc::new), references))
        }
        Reply::Same => Ok((None, None)),
    }
}

/// Sends each request once and verifies its answer, content included. Returns the number of answers.
///
/// # Errors
/// Some answers are not good: how many, and the first of them.
async fn all_verified<D: InferClient>(client: &mut D, spec: &RequestSpec<D>, limit: Duration) -> Result<u64, Fault> {
    let (mut bad, mut first) = (0, None);
    for (number, request) in spec.requests.iter().enumerate() {
        client.replace(request.encoded.clone());
        client.follow(None);
        let checked = match asked(client, limit).await {
            Ok(Reply::Unread(unread)) => spec.check(unread, number, true),
            Ok(Reply::Same) => Ok(false),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = checked {
            bad += 1;
            first = first.or(Some(fault));
        }
    }
    let all = spec.requests.len() as u64;
    match first {
        Some(fault) if all > 1 => {
            Err(Fault { message: format!("{bad} of {all} answers are not good: {fault}"), ..fault })
        }
        Some(fault) => Err(fault),
        // and the one before
        None => Ok(all + 1),
    }
}

async fn asked<D: InferClient>(client: &mut D, limit: Duration) -> Result<Reply<D::Unread>, Fault> {
    let answered = in_time(limit, client.infer()).await;
    if answered.as_ref().is_err_and(|fault| fault.kind == FaultKind::Timeout) {
        client.timed_out();
    }
    answered
}

async fn in_time<T>(limit: Duration, attempt: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(limit, attempt).await.unwrap_or_else(|_| Err(too_late(limit)))
}

async fn measure<D: InferClient + 'static>(
    generator: &mut LoadGenerator<D>,
    arrival: &ArrivalProcess,
    block: Block,
) -> Result<BlockDone> {
    let stage_ends = arrival.stage_ends();
    Part::clear_all(&mut generator.stages.borrow_mut(), stage_ends.len());
    let schedule = block.arrivals.map(|arrivals| Schedule::new(arrival, &block, &arrivals));
    let (scheduled, length) = (schedule.as_ref().map(Schedule::requests), schedule.as_ref().map(Schedule::length_ns));
    let stop = match scheduled {
        Some(requests) => StopRule { requests, least: None, ..block.stop },
        None => block.stop,
    };
    let block_run = BlockRun::new(stop, generator.recorder.clone()).logged(generator.log.clone());
    generator.spec.begin(block.order);
    generator
        .timer
        .until(Instant::now() + Duration::from_nanos(block.start_ns.saturating_sub(clock::shared_ns())))
        .await;
    // earlier traffic belongs to no block
    generator.traffic();
    let before = usage();
    // read once, so that processes share a time line
    let (begun_ns, now) = (clock::shared_ns(), Instant::now());
    // schedules of processes have one start, however late one of them wakes up: what it sends late is late
    let behind = if schedule.is_some() { begun_ns.saturating_sub(block.start_ns) } else { 0 };
    let (begin_ns, begin) = match now.checked_sub(Duration::from_nanos(behind)) {
        Some(begin) => (begun_ns - behind, begin),
        None => (begun_ns, now),
    };
    let block_run = block_run.judged_by(begin, block.judge);
    let block_run = Rc::new(block_run.staged(begin, stage_ends, generator.stages.clone()));
    generator
        .log
        .begin(begin, Duration::from_nanos(begin_ns.saturating_sub(block.start_ns)));
    block_run.early_until.set(length.map(|length| begin + Duration::from_nanos(length / 2)));
    let progress = block_run.clone();
    let stall = Rc::new(Cell::new(Duration::ZERO));
    let beat = tokio::task::spawn_local(heartbeat(move || progress.done(begin.elapsed()), stall.clone()));
    match schedule {
        Some(schedule) => generator.open(&block_run, schedule, begin).await,
        None => generator.closed(&block_run, generator.contexts.len(), block.think_time, begin).await,
    }
    beat.abort();
    // before the histograms are packed, which is not part of the requests' cost
    let usage = usage().since(&before);
    let at = |instant: Instant| begin_ns + (instant - begin).as_nanos() as u64;
    let window = block_run.window.get().map(|(first, last)| (at(first), at(last)));
    let (first_ns, last_ns) = window.unwrap_or((begun_ns, begun_ns));
    Ok(BlockDone {
        recorder: block_run.recorder().to_snapshot()?,
        begun_ns: Some((begun_ns, begun_ns)),
        first_ns,
        last_ns,
        usage,
        traffic: generator.traffic(),
        example: block_run.example.take(),
        examples: block_run.examples.take(),
        failed_ns: Some(block_run.failed_ns.get()),
        offered: scheduled.zip(length).map(|(requests, length_ns)| Offered {
            requests,
            begin_ns,
            length_ns,
            slowest_early_ns: block_run.slowest_early_ns.get(),
        }),
        held_back: block_run.held_back.get(),
        aborted: block_run.aborted.get(),
        checks: block_run.checks.get(),
        judged: block_run.judged(),
        stages: generator.stages.borrow().iter().map(Part::to_snapshot).collect::<Result<_>>()?,
        stall_ns: stall.get().as_nanos() as u64,
    })
}

/// Reports that the worker is alive, and keeps its timer's worst lateness in `stall`: a worker that does not run must
/// not be mistaken for a slow server.
async fn heartbeat(done: impl Fn() -> f64, stall: Rc<Cell<Duration>>) {
    let mut timer = PreciseTimer::new();
    loop {
        for _ in 0..TICKS {
            let due = Instant::now() + TICK;
            timer.sleep(TICK).await;
            stall.set(stall.get().max(due.elapsed()));
        }
        if send(&FromWorker::Progress { done: done() }).is_err() {
            return;
        }
    }
}

fn send(message: &FromWorker) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}

/// This process's use of the machine so far.
#[cfg(unix)]
fn usage() -> Usage {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    getrusage(UsageWho::RUSAGE_SELF).map_or_else(
        |_| Usage::default(),
        |usage| Usage {
            user_ns: usage.user_time().num_nanoseconds().unsigned_abs(),
            system_ns: usage.system_time().num_nanoseconds().unsigned_abs(),
            voluntary: usage.voluntary_context_switches().unsigned_abs(),
            involuntary: usage.involuntary_context_switches().unsigned_abs(),
        },
    )
}

#[cfg(not(unix))]
fn usage() -> Usage {
    Usage::default()
}
