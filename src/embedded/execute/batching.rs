//! The settings for executing requests together (`dynamic_batching`) and in parallel (`instance_group`).

use anyhow::{Context, Result, bail, ensure};

use crate::proto::model_config::SchedulingChoice;
use crate::proto::model_instance_group::Kind;
use crate::proto::{ModelConfig, ModelDynamicBatching, ModelInstanceGroup};

/// Most instances of one model; each is a thread.
const INSTANCES_MAX: usize = 1024;

/// How the dynamic batcher combines requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Sizes that are executed as soon as they are reached, in increasing order.
    pub preferred: Vec<usize>,
    /// How long the oldest request may wait for others, in microseconds.
    pub max_queue_delay_us: u64,
}

/// The dynamic batcher's settings, if there is one; `notices` gets those it cannot honour.
pub fn batching(message: &ModelConfig, max_batch_size: usize, notices: &mut Vec<String>) -> Result<Option<Batching>> {
    let dynamic = match &message.scheduling_choice {
        None => return Ok(None),
        Some(SchedulingChoice::DynamicBatching(dynamic)) => dynamic,
        // refused already
        Some(SchedulingChoice::SequenceBatching(_) | SchedulingChoice::EnsembleScheduling(_)) => return Ok(None),
    };
    let mut preferred = Vec::new();
    for size in &dynamic.preferred_batch_size {
        match usize::try_from(*size) {
            Ok(size) if (1..=max_batch_size).contains(&size) => preferred.push(size),
            _ => bail!("preferred_batch_size {size}: expected 1 to max_batch_size, which is {max_batch_size}"),
        }
    }
    preferred.sort_unstable();
    preferred.dedup();
    let ModelDynamicBatching {
        preserve_ordering, priority_levels, default_queue_policy, priority_queue_policy, ..
    } = dynamic;
    for (given, field) in [
        (*preserve_ordering, "preserve_ordering"),
        (*priority_levels > 0 || !priority_queue_policy.is_empty(), "priority_levels"),
        (default_queue_policy.is_some(), "default_queue_policy"),
    ] {
        if given {
            notices.push(format!("dynamic_batching {field}: not used here; requests are taken as they come"));
        }
    }
    if max_batch_size == 0 {
        // as in Triton, where a model without a batch dimension has batches of one request
        notices.push("dynamic_batching: max_batch_size is 0, so every request is executed on its own".to_owned());
        return Ok(None);
    }
    Ok(Some(Batching { preferred, max_queue_delay_us: dynamic.max_queue_delay_microseconds }))
}

/// Returns the number of instances; rewrites the groups as what they are here: on the CPU.
pub fn instances(message: &mut ModelConfig, name: &str, notices: &mut Vec<String>) -> Result<usize> {
    if message.instance_group.is_empty() {
        message.instance_group.push(ModelInstanceGroup::default());
    }
    let mut instances = 0;
    for (index, group) in message.instance_group.iter_mut().enumerate() {
        if group.name.is_empty() {
            group.name = format!("{name}_{index}");
        }
        if group.count == 0 {
            group.count = 1;
        }
        if group.kind() == Kind::Gpu {
            notices.push(format!("instance_group {}: KIND_GPU; instances are on the CPU here", group.name));
            group.gpus.clear();
        }
        group.set_kind(Kind::Cpu);
        let count = usize::try_from(group.count)
            .with_context(|| format!("instance_group {}: count is {}: expected 1 or more", group.name, group.count))?;
        instances += count;
    }
    ensure!(
        instances <= INSTANCES_MAX,
        "instance_group: {instances} instances, which are threads here: expected at most {INSTANCES_MAX}"
    );
    Ok(instances)
}
