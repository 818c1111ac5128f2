//! What serde reads from a scenario file: shapes of tables and spans of values, nothing checked.
//! Must not know defaults or limits: those belong to [`super::Scenario`].

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub title: Spanned<String>,
    #[serde(default)]
    pub server: Server,
    pub model: Model,
    pub input: Spanned<Vec<Spanned<Input>>>,
    pub output: Spanned<Vec<Output>>,
    pub matrix: Spanned<Matrix>,
    #[serde(default)]
    pub load: Load,
    pub artifact: Option<Spanned<Artifact>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub http: Option<Spanned<String>>,
    pub grpc: Option<Spanned<String>>,
    pub metrics: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub name: Spanned<String>,
    pub version: Option<Spanned<String>>,
    pub batching: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub name: Spanned<String>,
    pub datatype: Spanned<String>,
    pub shape: Spanned<Vec<Spanned<i64>>>,
    pub data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Data {
    Zeros,
    Random { seed: Spanned<i64> },
    File(Spanned<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    pub name: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    pub protocols: Option<Axis<String>>,
    pub batch_sizes: Option<Axis<i64>>,
    pub processes: Option<Axis<i64>>,
    pub concurrency: Option<Axis<i64>>,
    pub connections: Option<Axis<i64>>,
    #[serde(default)]
    pub exclude: Vec<Spanned<Exclude>>,
}

pub type Axis<T> = Spanned<Vec<Spanned<T>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclude {
    pub protocols: Option<Axis<String>>,
    pub batch_sizes: Option<Axis<i64>>,
    pub processes: Option<Axis<i64>>,
    pub concurrency: Option<Axis<i64>>,
    pub connections: Option<Axis<i64>>,
    pub rate: Option<Axis<f64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    pub iterations: Option<Spanned<i64>>,
    pub duration_s: Option<Spanned<f64>>,
    pub max_seconds_per_case: Option<Spanned<f64>>,
    pub rate: Option<Axis<f64>>,
    pub arrival: Option<Spanned<String>>,
    pub encode: Option<Spanned<String>>,
    pub warmup: Option<Spanned<i64>>,
    pub blocks: Option<Spanned<i64>>,
    pub timeout_s: Option<Spanned<f64>>,
    pub seed: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    pub url: Spanned<String>,
    pub sha256: Spanned<String>,
    pub member: Spanned<String>,
    pub member_sha256: Spanned<String>,
    pub licence: Spanned<String>,
    pub stand_in: Spanned<String>,
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
}
