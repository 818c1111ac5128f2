//! The models in a folder: which exist, which are loaded, and how to find one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use rten::ThreadPool;

use crate::embedded::error::{Code, Error};
use crate::embedded::execute::backend::Backend;
use crate::embedded::execute::engine::{self, Engine};
use crate::embedded::execute::infer::{Answer, Request, unknown_model};
use crate::embedded::execute::loopback::Loopback;
use crate::embedded::execute::onnx;
use crate::embedded::execute::scheduler::Scheduler;
use crate::embedded::lock;
use crate::embedded::model::config::{BackendKind, Config, plain};
use crate::embedded::observe::request_log::{RequestLog, RequestTrace};
use crate::proto::repository_index_response::ModelIndex;
use crate::proto::{self, ModelConfig, ModelStatistics};

/// One version of a model, ready to infer.
pub struct Model {
    /// Its configuration, which all versions share.
    pub config: Arc<Config>,
    /// Its number.
    pub version: u64,
    /// All ready versions of this model, including this one.
    pub versions: Vec<u64>,
    scheduler: Scheduler,
}

/// A model's ready versions, by number.
type Versions = BTreeMap<u64, Arc<Model>>;

/// A model that was loaded, or whose load failed.
enum Entry {
    Ready(Versions),
    /// The version and the reason why it is not ready.
    Unavailable(String, String),
}

/// A model repository.
pub struct Repository {
    folder: PathBuf,
    /// Name of the preferred configurations in `configs/`.
    variant: Option<String>,
    all_cores: Arc<ThreadPool>,
    log: Option<RequestLog>,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// One model is loaded at a time.
    loading: Mutex<()>,
}

impl Model {
    /// Executes a request.
    ///
    /// # Errors
    /// The request does not fit the model, or the model fails.
    pub async fn infer(&self, request: Request, trace: &RequestTrace) -> Result<Answer, Error> {
        let mut answer = self.scheduler.infer(request.admit(&self.config)?, trace).await?;
        for output in &mut answer.outputs {
            if let Some(known) = self.config.outputs.iter().find(|known| known.name == output.name) {
                output.shape = known.to_client(std::mem::take(&mut output.shape), self.config.max_batch_size > 0);
            }
        }
        Ok(answer)
    }

    /// Its statistics since it was loaded.
    pub fn statistics(&self) -> ModelStatistics {
        self.scheduler.statistics()
    }

    /// The metadata endpoints' answer.
    pub fn metadata(&self) -> proto::ModelMetadataResponse {
        let batched = self.config.max_batch_size > 0;
        let tensors = |descriptions: &[crate::embedded::model::config::Description]| {
            let tensors = descriptions.iter().map(|tensor| proto::model_metadata_response::TensorMetadata {
                name: tensor.name.clone(),
                datatype: tensor.datatype.name().to_owned(),
                shape: tensor.shape(batched),
            });
            tensors.collect()
        };
        let answer = &self.config.answer;
        proto::ModelMetadataResponse {
            name: self.config.name.clone(),
            versions: self.versions.iter().map(u64::to_string).collect(),
            platform: if answer.platform.is_empty() {
                answer.backend.clone()
            } else {
                answer.platform.clone()
            },
            inputs: tensors(&self.config.inputs),
            outputs: tensors(&self.config.outputs),
        }
    }
}

impl Repository {
    /// Opens a folder of models. Nothing is loaded.
    ///
    /// # Errors
    /// It is not a folder.
    pub fn open(folder: &Path, variant: Option<&str>, log: Option<RequestLog>) -> Result<Self> {
        ensure!(
            folder.is_dir(),
            "the model repository {} is not a folder: name one with --model-repository, or write one with runner models synth \
             scrfd",
            folder.display()
        );
        ensure!(variant.is_none_or(plain), "--model-config-name: expected a file's name without .pbtxt");
        Ok(Repository {
            folder: folder.to_owned(),
            variant: variant.map(str::to_owned),
            all_cores: engine::all_cores()?,
            log,
            entries: Mutex::default(),
            loading: Mutex::default(),
        })
    }

    /// The names of all models in the folder, loaded or not.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let failed = || format!("cannot read the model repository {}", self.folder.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if let Ok(name) = entry.file_name().into_string()
                && entry.path().is_dir()
                && !name.starts_with('.')
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Loads or reloads a model. Takes as long as reading its file. A model that was ready stays ready meanwhile, and
    /// if the load fails.
    ///
    /// # Errors
    /// The model does not exist or cannot be loaded; the message says why.
    pub fn load(&self, name: &str, config: Option<&str>) -> Result<Vec<String>, Error> {
        let one_at_a_time = lock(&self.loading);
        if !plain(name) || !self.folder.join(name).is_dir() {
            let words = format!("failed to load '{name}', failed to poll from model repository");
            return Err(Error::new(Code::Internal, words));
        }
        let config = config.map(|json| Config::of_json(json, name)).transpose().map_err(|error| {
            Error::internal(format!("failed to load '{name}', failed to poll from model repository: {error:#}"))
        })?;
        let loaded = self.load_from_folder(name, config);
        let mut entries = lock(&self.entries);
        match loaded {
            Ok((versions, notices)) => {
                let replaced = entries.insert(name.to_owned(), Entry::Ready(versions));
                drop((entries, one_at_a_time));
                drop(replaced);
                Ok(notices)
            }
            Err(error) => {
                let words = self.without_folder(&format!("{error:#}"));
                if !matches!(entries.get(name), Some(Entry::Ready(_))) {
                    entries.insert(name.to_owned(), Entry::Unavailable("1".to_owned(), words.clone()));
                }
                Err(Error::invalid(format!("load failed for model '{name}': {words}")))
            }
        }
    }

    /// Removes the repository's path from a message: a client must not learn where the server keeps its files.
    fn without_folder(&self, words: &str) -> String {
        let known = [fs::canonicalize(&self.folder).ok(), std::path::absolute(&self.folder).ok()];
        let known = known.into_iter().flatten().filter(|folder| folder.parent().is_some());
        known.fold(words.to_owned(), |words, folder| {
            let folder = folder.display().to_string();
            words.replace(&format!("{folder}/"), "").replace(&folder, "the model repository")
        })
    }

    fn load_from_folder(&self, name: &str, config: Option<ModelConfig>) -> Result<(Versions, Vec<String>)> {
        let folder = self.folder.join(name);
        let config = Arc::new(match config {
            Some(mut message) => {
                onnx::complete(&mut message, &folder)?;
                Config::checked(message, name)?
            }
            None => Config::read(&folder, name, self.variant.as_deref())?,
        });
        let mut there = versions(&folder);
        if there.is_empty() && config.backend == BackendKind::Loopback {
            // a loopback model has no file that needs a version folder
            there.push(1);
        }
        let versions = config.versions(there);
        ensure!(
            !versions.is_empty(),
            "at least one version must be available under the version policy of model '{name}'"
        );
        let mut models = BTreeMap::new();
        let mut notices = config.notices.clone();
        for version in &versions {
            let backend: Box<dyn Backend> = match config.backend {
                BackendKind::Loopback => Box::new(Loopback::new(config.clone())?),
                BackendKind::Onnx => {
                    let file = folder.join(version.to_string()).join(&config.file);
                    let engine = Engine::load(&file, config.clone(), &self.all_cores);
                    let engine = engine.with_context(|| format!("version {version}"))?;
                    notices.extend(engine.notices.iter().cloned());
                    Box::new(engine)
                }
            };
            let scheduler = Scheduler::start(config.clone(), *version, backend, self.log.clone())
                .context("its instances cannot be started")?;
            let (config, versions) = (config.clone(), versions.clone());
            models.insert(*version, Arc::new(Model { config, version: *version, versions, scheduler }));
        }
        Ok((models, notices))
    }

    /// Unloads a model: running requests finish, queued ones are refused. Unloading a model that was never loaded
    /// succeeds, as in Triton.
    pub fn unload(&self, name: &str) {
        let _one_at_a_time = lock(&self.loading);
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.get_mut(name) else { return };
        let version = match &entry {
            Entry::Ready(models) => models.keys().last().map_or_else(String::new, u64::to_string),
            Entry::Unavailable(version, _) => version.clone(),
        };
        let unloaded = std::mem::replace(entry, Entry::Unavailable(version, "unloaded".to_owned()));
        drop(entries);
        if let Entry::Ready(models) = unloaded {
            // closed here rather than by the last owner's drop: a queued request is an owner
            models.values().for_each(|model| model.scheduler.close());
        }
    }

    /// The model to infer with; an empty `version` is the newest.
    ///
    /// # Errors
    /// No such model or version, or it is not ready.
    pub fn find(&self, name: &str, version: &str) -> Result<Arc<Model>, Error> {
        let number = version_number(version)?;
        let entries = lock(&self.entries);
        match entries.get(name) {
            None => Err(unknown_model(name, "")),
            Some(Entry::Unavailable(..)) => Err(Error::new(
                Code::NotFound,
                format!("Request for unknown model: '{name}' has no available versions"),
            )),
            Some(Entry::Ready(versions)) => {
                let found = match number {
                    None => versions.values().last(),
                    Some(number) => versions.get(&number),
                };
                found.cloned().ok_or_else(|| unknown_model(name, version))
            }
        }
    }

    /// The statistics of one model, or of all ready models if `name` is empty.
    ///
    /// # Errors
    /// As [`Repository::find`], in the statistics extension's wording.
    pub fn statistics(&self, name: &str, version: &str) -> Result<Vec<ModelStatistics>, Error> {
        if !name.is_empty() {
            version_number(version)?;
            let model = self.find(name, version).map_err(|_| {
                let known = self.find(name, "").is_ok();
                let model = if known { "model version is not available for model" } else { "model" };
                let end = if known { "" } else { " is not available" };
                Error::invalid(format!("requested {model} '{name}'{end}"))
            })?;
            if !version.is_empty() {
                return Ok(vec![model.statistics()]);
            }
        }
        let entries = lock(&self.entries);
        let wanted = entries.iter().filter(|(known, _)| name.is_empty() || *known == name);
        let models = wanted.filter_map(|(_, entry)| match entry {
            Entry::Ready(versions) => Some(versions.values()),
            Entry::Unavailable(..) => None,
        });
        Ok(models.flatten().map(|model| model.statistics()).collect())
    }

    /// The models in the repository and their states.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn index(&self, only_ready: bool) -> Result<Vec<ModelIndex>, Error> {
        let names = self.names().map_err(|_| Error::internal("the model repository cannot be read"))?;
        let entries = lock(&self.entries);
        let mut index = Vec::new();
        for name in names {
            let row = |version: String, state: &str, reason: &str| ModelIndex {
                name: name.clone(),
                version,
                state: state.to_owned(),
                reason: reason.to_owned(),
            };
            match entries.get(&name) {
                Some(Entry::Ready(versions)) => {
                    index.extend(versions.keys().map(|version| row(version.to_string(), "READY", "")));
                }
                _ if only_ready => {}
                Some(Entry::Unavailable(version, reason)) => index.push(row(version.clone(), "UNAVAILABLE", reason)),
                None => index.push(row(String::new(), "", "")),
            }
        }
        Ok(index)
    }
}

/// The number of a version that a client names; an empty `version` is the newest.
fn version_number(version: &str) -> Result<Option<u64>, Error> {
    if version.is_empty() {
        return Ok(None);
    }
    let number = version.parse().map_err(|_| {
        Error::invalid(format!(
            "failed to get model version from specified version string '{version}', version should be an integral value > 0"
        ))
    });
    number.map(Some)
}

/// The version numbers that a model has folders for.
fn versions(folder: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let numbers = entries.flatten().filter(|entry| entry.path().is_dir()).filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.parse().ok().filter(|number: &u64| *number > 0 && number.to_string() == name)
    });
    numbers.collect()
}
