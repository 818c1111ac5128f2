//! A worker process on another host, as its parent sees it. Must not know what workers say.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::link::Link;
use super::message::ToHost;
use super::state::UNDER_WAY;

pub use super::state::Heard;

/// How long a worker may take to end.
const ENDING: Duration = Duration::from_secs(10);

/// A worker process on a host.
pub struct RemoteWorker {
    link: Arc<Link>,
    number: u32,
    heard: mpsc::Receiver<Heard>,
}

impl RemoteWorker {
    /// Starts one.
    pub fn start(link: &Arc<Link>) -> Self {
        let (tell, heard) = mpsc::channel(UNDER_WAY);
        let number = {
            let mut known = link.state.known();
            known.next_worker += 1;
            let number = known.next_worker;
            if link.lost().is_none() {
                known.workers.insert(number, tell);
            }
            number
        };
        link.state.say(&ToHost::Start(number));
        RemoteWorker { link: link.clone(), number, heard }
    }

    /// The host it is on.
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Tells it something.
    pub fn tell(&self, message: Box<RawValue>) {
        self.link.state.say(&ToHost::Tell { worker: self.number, message });
    }

    /// Waits for what it says. What was said stays if this is dropped.
    pub async fn hear(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => Heard::Lost(format!("{:#}", self.link.state.lost_error())),
        }
    }

    /// Lets it end in order, and waits for it.
    pub async fn stop(mut self) {
        self.link.state.say(&ToHost::End(self.number));
        let ended = async { while let Some(Heard::Said(_)) = self.heard.recv().await {} };
        let _ = timeout(ENDING, ended).await;
    }
}

impl Drop for RemoteWorker {
    fn drop(&mut self) {
        self.link.state.known().workers.remove(&self.number);
        // once more is no harm
        self.link.state.say(&ToHost::End(self.number));
    }
}
