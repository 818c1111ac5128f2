//! A worker process: connects, verifies, warms up, and measures blocks when it is told to.
//! Must not know plans, records or results.

use std::io::{BufRead, Write};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::crew::{Crew, Slot, SlotRules, too_late};
use super::message::{Block, BlockDone, FromWorker, Order, ToWorker, Usage};
use super::pace::{Pacer, Schedule};
use super::patience::Watch;
use super::share::{Rules, Share};
use super::timeline::{self, Timeline};
use crate::protocol::grpc::Grpc;
use crate::protocol::http::Http;
use crate::protocol::verify::verify;
use crate::protocol::{Driver, Fault, FaultKind};
use crate::scenario::{Encode, Protocol};
use crate::tensor::Datatype;

/// The first answer may meet a server that fails now and then.
const VERIFY_ATTEMPTS: u32 = 3;

/// How often a worker says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Obeys the parent's messages on standard input until it closes.
///
/// # Errors
/// A message that cannot be understood, or a parent that is gone.
pub fn run() -> Result<()> {
    let runtime = timeline::runtime()?;
    let (sender, mut messages) = mpsc::unbounded_channel();
    // a thread of its own: it sleeps in read while requests are timed, and sees at once when the parent is gone
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    runtime.block_on(async {
        let first = messages.recv().await.context("the parent said nothing")?;
        let ToWorker::Order(order) = serde_json::from_str(&first)? else { bail!("expected an order first") };
        match order.protocol {
            Protocol::Http => obey::<Http>(order, &mut messages).await,
            Protocol::Grpc => obey::<Grpc>(order, &mut messages).await,
        }
    })
}

async fn obey<D: Driver + 'static>(order: Order, messages: &mut mpsc::UnboundedReceiver<String>) -> Result<()> {
    let mut crew = match prepare::<D>(&order).await {
        Ok((crew, requests)) => {
            say(&FromWorker::Ready { requests })?;
            crew
        }
        Err(fault) => return say(&FromWorker::Failed(fault)),
    };
    while let Some(line) = messages.recv().await {
        let ToWorker::Block(block) = serde_json::from_str(&line)? else { bail!("expected a block") };
        say(&FromWorker::Done(measure(&mut crew, block).await?))?;
    }
    Ok(())
}

/// Connects, verifies an answer and warms up.
async fn prepare<D: Driver + 'static>(order: &Order) -> Result<(Crew<D>, u64), Fault> {
    let request = order.request().map_err(|error| Fault::new(FaultKind::Answer, format!("{error:#}")))?;
    let encoded = D::encode(&order.address, &request)?;
    let limit = Duration::from_millis(order.timeout_ms);
    let anew = (order.encode == Encode::EachRequest).then(|| (order.address.clone(), request));
    let beat = tokio::task::spawn_local(heartbeat(|| 0.0));
    let alone = order.connections == order.concurrency;
    let wires: Vec<_> = (0..order.connections).map(|_| Rc::new(Timeline::new(alone))).collect();
    let connections: Vec<_> = wires.iter().map(|wire| D::connection(&order.address, wire.clone())).collect();
    let places = wires.iter().zip(&connections).cycle().take(order.concurrency as usize);
    let mut drivers: Vec<_> = places
        .map(|(wire, connection)| {
            let timeline = if alone { wire.clone() } else { Rc::new(Timeline::new(alone)) };
            (D::new(connection.clone(), encoded.clone(), timeline.clone()), timeline)
        })
        .collect();
    // what the order asks for is in the drivers
    drop((encoded, connections));
    let answer_bytes = verified(&mut drivers[0].0, order, limit).await?;
    for (driver, _) in &mut drivers {
        timeout(limit, driver.connect()).await.unwrap_or_else(|_| Err(too_late(limit)))?;
    }
    let varies = order.outputs.iter().any(|output| output.datatype == Datatype::Bytes.name());
    let rules = Rc::new(SlotRules { answer_bytes: (!varies).then_some(answer_bytes), anew });
    let mut watch = Watch::new(limit);
    let slot = |(driver, timeline)| Slot { driver, timeline, patience: watch.patience(), rules: rules.clone() };
    let slots = drivers.into_iter().map(slot).collect();
    tokio::task::spawn_local(watch.keep());
    let mut crew = Crew { slots, wires, pacer: Pacer::new(), recorder: Rc::default() };
    let cap = order.warmup_cap_ms.map(Duration::from_millis);
    let rules = Rules { iterations: order.warmup, duration: None, cap };
    let share = Rc::new(Share::new(rules, crew.recorder.clone()));
    // where requests come whether or not earlier ones were answered, those to warm up must not pile up
    let at_once = if order.open_loop { 1 } else { crew.slots.len() };
    crew.closed(&share, at_once, Instant::now()).await;
    beat.abort();
    if let (true, Some(fault)) = (share.gave_up.get(), share.example.take()) {
        return Err(Fault { message: format!("the warmup failed: {}", fault.message), ..fault });
    }
    let requests = share.recorder().count() + 1;
    Ok((crew, requests))
}

/// Sends one request and verifies its answer, whose size is returned.
async fn verified<D: Driver>(connection: &mut D, order: &Order, limit: Duration) -> Result<u64, Fault> {
    let mut attempt = 1;
    loop {
        let answer = timeout(limit, connection.infer_whole()).await.unwrap_or_else(|_| Err(too_late(limit)));
        match answer.and_then(|answer| verify(&answer, &order.outputs).map(|()| answer.bytes)) {
            Err(fault) if fault.kind == FaultKind::Server && attempt < VERIFY_ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

async fn measure<D: Driver + 'static>(crew: &mut Crew<D>, block: Block) -> Result<BlockDone> {
    let nanoseconds = |ns: Option<u64>| ns.map(Duration::from_nanos);
    let due = block.arrivals.map(|arrivals| block.arrivals_count(&arrivals));
    let rules = Rules {
        iterations: due.unwrap_or(block.iterations),
        duration: nanoseconds(block.duration_ns).filter(|_| due.is_none()),
        cap: nanoseconds(block.cap_ns),
    };
    let share = Rc::new(Share::new(rules, crew.recorder.clone()));
    let schedule = block.arrivals.zip(due).map(|(arrivals, due)| Schedule::new(arrivals, due));
    crew.pacer.until(Instant::now() + Duration::from_nanos(block.start_unix_ns.saturating_sub(unix_ns()))).await;
    // what went over the connections before belongs to no block
    crew.traffic();
    let before = usage();
    // wall clock once, so that processes share a time line; everything after it is monotonic
    let (wall, begin) = (unix_ns(), Instant::now());
    let progress = share.clone();
    let beat = tokio::task::spawn_local(heartbeat(move || progress.done(begin.elapsed())));
    match schedule {
        Some(schedule) => crew.open(&share, schedule, begin).await,
        None => crew.closed(&share, crew.slots.len(), begin).await,
    }
    beat.abort();
    // before the histograms are packed, which is none of the requests' cost
    let usage = usage().since(&before);
    let at = |instant: Instant| wall + (instant - begin).as_nanos() as u64;
    let window = share.window.get().map(|(first, last)| (at(first), at(last)));
    let (first_unix_ns, last_unix_ns) = window.unwrap_or((wall, wall));
    Ok(BlockDone {
        recorder: share.recorder().to_wire()?,
        first_unix_ns,
        last_unix_ns,
        usage,
        traffic: crew.traffic(),
        example: share.example.take(),
        due,
        held_back: share.held_back.get(),
        gave_up: share.gave_up.get(),
    })
}

async fn heartbeat(done: impl Fn() -> f64) {
    let mut pacer = Pacer::new();
    loop {
        pacer.sleep(HEARTBEAT).await;
        if say(&FromWorker::Progress { done: done() }).is_err() {
            return;
        }
    }
}

fn say(message: &FromWorker) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}

fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// What this process has taken of the machine so far.
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
