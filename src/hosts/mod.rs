//! Other machines that send requests. On each an [`agent`] starts worker processes and passes their messages on; the leader has
//! a [`link`] to each, by ssh ([`push`]) or because they connected to it ([`pull`]).

pub mod agent;
pub mod files;
mod lines;
pub mod link;
pub mod message;
pub mod offset;
pub mod pull;
pub mod push;
pub mod rank;
pub mod remote;
mod state;
pub mod token;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures_util::future::{join_all, try_join_all};
use tokio::sync::OnceCell;

use crate::environment::Environment;
use link::Link;
use message::Wanted;
use push::Push;

/// Where data files are on the leader's machine, and where on a host.
pub type Places = Vec<(PathBuf, PathBuf)>;

/// The machines that send requests.
#[derive(Default)]
pub struct Fleet {
    /// Each with at least one link.
    pub hosts: Vec<Host>,
}

/// A machine.
pub struct Host {
    /// Its name in results.
    pub name: String,
    /// The programs on it that start workers: one, or as many as a launcher started there.
    pub links: Vec<Arc<Link>>,
    /// Where data files are there, for each of these programs.
    files: Mutex<Vec<Arc<Places>>>,
}

impl Host {
    /// What it says of itself.
    pub fn environment(&self) -> &Environment {
        &self.links[0].hello.environment
    }

    /// The program that starts worker number `number` of this host, and where its data files are.
    pub fn seat(&self, number: usize) -> (Arc<Link>, Arc<Places>) {
        let place = number % self.links.len();
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned();
        (self.links[place].clone(), files.unwrap_or_default())
    }

    /// Makes sure that files are there. Programs that share a disk share them.
    async fn place(&self, wanted: &[Wanted]) -> Result<()> {
        let mut files = Vec::new();
        let mut known = wanted.to_vec();
        for link in &self.links {
            let places = link.place(&known).await?;
            ensure!(places.len() == wanted.len(), "host {}: an answer is cut off", self.name);
            let of_link = wanted
                .iter()
                .zip(&places)
                .map(|(wanted, place)| (wanted.path.clone().into(), place.into()));
            files.push(Arc::new(of_link.collect()));
            known.iter_mut().zip(places).for_each(|(known, place)| known.path = place);
        }
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
        Ok(())
    }

    /// Whether it shares this machine's loopback interface.
    pub fn is_here(&self) -> bool {
        self.links[0].hello.machine == message::machine()
    }
}

impl Fleet {
    /// Reaches hosts by ssh, all at the same time.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub async fn push(names: &[String], push: &Push) -> Result<Fleet> {
        let own = OnceCell::new();
        let links = try_join_all(names.iter().map(|name| push.open(name, &own))).await?;
        let host =
            |link: Link| Host { name: link.name().to_owned(), links: vec![Arc::new(link)], files: Mutex::default() };
        Ok(Fleet { hosts: links.into_iter().map(host).collect() })
    }

    /// The hosts of programs that connected: those that share a machine and its name are one host.
    pub fn of(mut links: Vec<Link>) -> Fleet {
        // the same hosts are in the same order, whoever connects first
        links.sort_by(|one, other| (one.hello.rank, &one.hello.name).cmp(&(other.hello.rank, &other.hello.name)));
        let mut hosts: Vec<Host> = Vec::new();
        for link in links {
            let is_same = |host: &&mut Host| {
                let of = &host.links[0].hello;
                (&of.machine, &of.name) == (&link.hello.machine, &link.hello.name)
            };
            match hosts.iter_mut().find(is_same) {
                Some(host) => {
                    link.call(&host.name);
                    host.links.push(Arc::new(link));
                }
                None => {
                    let own = &link.hello.name;
                    let is_taken = |name: &String| hosts.iter().any(|host| host.name == *name);
                    let others = (2..).map(|number| format!("{own}-{number}"));
                    let name = std::iter::once(own.clone())
                        .chain(others)
                        .find(|name| !is_taken(name))
                        .unwrap_or_default();
                    link.call(&name);
                    hosts.push(Host { name, links: vec![Arc::new(link)], files: Mutex::default() });
                }
            }
        }
        Fleet { hosts }
    }

    /// The host of a name.
    pub fn named(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// Whether all requests come from this machine's own processes.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Makes sure that every host has the data files of a scenario, given with their hashes.
    ///
    /// # Errors
    /// A file cannot be read here or written there.
    pub async fn place(&self, files: &BTreeMap<PathBuf, String>) -> Result<()> {
        let wanted: Vec<Wanted> = files
            .iter()
            .map(|(path, sha256)| {
                let path = std::path::absolute(path)?;
                Ok(Wanted { path: path.display().to_string(), sha256: sha256.clone() })
            })
            .collect::<Result<_>>()?;
        if wanted.is_empty() {
            return Ok(());
        }
        try_join_all(self.hosts.iter().map(|host| host.place(&wanted))).await.map(drop)
    }

    /// Lets all hosts end in order.
    pub async fn close(&self) {
        join_all(self.hosts.iter().flat_map(|host| &host.links).map(|link| link.close())).await;
    }
}
