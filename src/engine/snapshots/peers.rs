//! Snapshots from other instances: the owner before, standbys, whoever has the store open.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::bring::{Offer, Source};
use super::io::Io;
use super::manifest::{FileEntry, MOST_BYTES, Manifest};
use super::pace::Pace;
use super::wanted::Wanted;

/// Longest wait for a connection: a peer that is gone must not hold the replay up.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest wait for a sign of life while a manifest is made: its first one comes when the memtable is flushed, then one for each few megabytes that are hashed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);
/// However much there is to hash, the wait ends: longer than any [`super::Bringer`] waits for a task of 60 million records.
const MANIFEST: Duration = Duration::from_secs(600);

/// The instances that may have a task's state, the likeliest first: their ids and addresses.
pub type PeersOf = Arc<dyn Fn(&Wanted) -> Vec<(String, String)> + Send + Sync>;

/// Snapshots that other instances serve (see [`super::Offers`]). They are asked without an `Authorization`: nobody's request is behind it whose could be
/// passed on.
pub struct PeerSource {
    peers: PeersOf,
    /// Made when it is needed: that reads all of the system's certificate authorities, and most starts ask nobody.
    client: Mutex<Option<reqwest::Client>>,
    io: Io,
}

/// What a peer answers.
#[derive(Deserialize)]
struct Answer {
    id: String,
    manifest: Box<RawValue>,
}

impl PeerSource {
    /// Asks those whom `peers` names.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(peers: PeersOf) -> Result<Self, String> {
        Ok(Self {
            peers,
            client: Mutex::default(),
            io: Io::new("snapshot-io").map_err(|error| error.to_string())?,
        })
    }

    fn client(&self) -> Result<reqwest::Client, String> {
        let mut known = self.client.lock();
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(said)?;
        *known = Some(client.clone());
        Ok(client)
    }

    /// `None`: it has not got the state.
    fn ask(&self, url: &str, wanted: &Wanted) -> Result<Option<Offer>, String> {
        let base = url.trim_end_matches('/');
        let task = wanted.task;
        let path = format!(
            "{base}/internal/v1/snapshots/{}/{}/{task}",
            wanted.topology, wanted.generation
        );
        let client = self.client()?;
        let silent = |_| format!("nothing came in {} s", SIGN_OF_LIFE.as_secs());
        let answer = self.io.wait(async {
            let ask = client.post(path).timeout(MANIFEST);
            let ask = ask.header(reqwest::header::CONTENT_TYPE, super::QUESTION_TYPE).send();
            let answered = tokio::time::timeout(SIGN_OF_LIFE, ask).await;
            let mut response = answered.map_err(silent)?.map_err(said)?;
            if response.status() == reqwest::StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let status = response.status();
            let mut body = Vec::new();
            while let Some(chunk) = tokio::time::timeout(SIGN_OF_LIFE, response.chunk())
                .await
                .map_err(silent)?
                .map_err(said)?
            {
                body.extend_from_slice(&chunk);
                if body.len() > MOST_BYTES {
                    return Err("its manifest is too large".to_owned());
                }
            }
            match status.is_success() {
                true => Ok(Some(body)),
                false => Err(format!("status {status}")),
            }
        })?;
        let Some(body) = answer else { return Ok(None) };
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| format!("its answer: {error}"))?;
        if !super::is_plain_name(&answer.id) {
            return Err("its answer has no id".into());
        }
        Ok(Some(Offer {
            id: format!("{base}/internal/v1/snapshots/{}", answer.id),
            manifest: answer.manifest.get().as_bytes().to_vec(),
        }))
    }
}

fn said(error: reqwest::Error) -> String {
    // The cause says more than "error sending request".
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Source for PeerSource {
    fn name(&self) -> String {
        "another instance".into()
    }

    /// The first peer's that has one: each costs it a checkpoint.
    fn offers(&self, wanted: &Wanted) -> Result<Vec<Offer>, String> {
        for (instance, url) in (self.peers)(wanted) {
            match self.ask(&url, wanted) {
                Ok(None) => {}
                Ok(Some(offer)) => {
                    let refused =
                        Manifest::parse(&offer.manifest).map_or_else(Some, |manifest| wanted.refuse(&manifest));
                    let Some(reason) = refused else { return Ok(vec![offer]) };
                    tracing::info!(task = %wanted.path(), instance, url, reason, "its snapshot is of no use");
                    self.close(wanted, &offer);
                }
                Err(reason) => {
                    tracing::info!(task = %wanted.path(), instance, url, reason, "it gives no snapshot");
                }
            }
        }
        Ok(Vec::new())
    }

    fn read(
        &self,
        _wanted: &Wanted,
        offer: &Offer,
        file: &FileEntry,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let (mut pace, client) = (Pace::default(), self.client()?);
        self.io.wait(async {
            let silent = |_| format!("nothing came in {} s", Pace::PATIENCE.as_secs());
            let ask = client.get(format!("{}/{}", offer.id, file.name)).send();
            let mut response = tokio::time::timeout(Pace::PATIENCE, ask)
                .await
                .map_err(silent)?
                .map_err(said)?;
            if !response.status().is_success() {
                return Err(format!("{}: status {}", file.name, response.status()));
            }
            while let Some(chunk) = tokio::time::timeout(Pace::PATIENCE, response.chunk())
                .await
                .map_err(silent)?
                .map_err(said)?
            {
                pace.moved(chunk.len())?;
                sink(&chunk)?;
            }
            Ok(())
        })
    }

    fn close(&self, _wanted: &Wanted, offer: &Offer) {
        let end = async {
            let told = self.client()?.delete(&offer.id).timeout(CONNECT).send().await;
            told.map_err(said)
        };
        let ended = self.io.wait(end);
        if let Err(error) = ended {
            tracing::debug!(%error, "a peer was not told that its checkpoint is done with; it times out there");
        }
    }
}
