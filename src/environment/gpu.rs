//! The graphics processors of this machine, from NVIDIA's management library, which is loaded if it exists.

use nvml_wrapper::Nvml;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the library reports; empty without a library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Gpus {
    /// Names and memory in MiB.
    pub devices: Vec<(String, u64)>,
    /// Version of the driver.
    pub driver: Option<String>,
    /// Newest version of CUDA that the driver supports.
    pub cuda: Option<String>,
}

impl Gpus {
    /// Asks the library.
    pub(super) fn read() -> Self {
        let Ok(nvml) = Nvml::init() else { return Gpus::default() };
        let device = |index| {
            let device = nvml.device_by_index(index).ok()?;
            Some((device.name().ok()?, device.memory_info().ok()?.total >> 20))
        };
        let cuda = nvml.sys_cuda_driver_version().ok();
        Gpus {
            devices: (0..nvml.device_count().unwrap_or(0)).filter_map(device).collect(),
            driver: nvml.sys_driver_version().ok(),
            cuda: cuda.map(|version| format!("{}.{}", version / 1000, version % 1000 / 10)),
        }
    }
}
