//! Snapshots as the settings say: where they come from, where they are put, and what is served to other instances.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::settings::Settings;
use crate::engine::snapshots::{
    Bringer, BucketSource, Keeper, KeeperSettings, Offers, PeerSource, SnapshotParts, Source, Wanted, bucket,
};
use crate::engine::{Cluster, Instance, Published, threads};

/// How long a start waits until it is known who else there is, before it asks them.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Peers that are asked at most: each answers at once when it has not got the state.
const MOST_PEERS: usize = 32;

/// What [`set_up`] made.
pub(super) struct SetUp {
    /// For the engine and HTTP.
    pub parts: SnapshotParts,
    /// Puts snapshots while it lives.
    pub keeper: Option<Keeper>,
}

/// Makes everything that the settings ask for.
///
/// # Errors
/// A wrong address, or directories that cannot be cleared.
pub(super) fn set_up(settings: &Settings, instance: &Instance, published: &Arc<Published>) -> Result<SetUp, String> {
    let directory = settings.path("data-dir").join("snapshots");
    let unusable = |error: std::io::Error| format!("{}: {error}; it cannot be used for snapshots", directory.display());
    let app = settings.text("application-id");
    let cluster = published.cluster().clone();
    let peers = PeerSource::new(Arc::new(move |wanted: &Wanted| peers(&cluster, wanted)))?;
    let mut sources: Vec<Arc<dyn Source>> = vec![Arc::new(peers)];
    let mut keeper = None;
    if let Some(url) = settings.optional_text("snapshots") {
        let bucket = bucket(url)?;
        sources.push(Arc::new(BucketSource::new(app, bucket.clone())));
        if settings.get("snapshot-interval").is_some() {
            let put = KeeperSettings {
                app: app.to_owned(),
                instance: instance.id().to_owned(),
                interval: settings.duration("snapshot-interval"),
                keep: settings.integer("snapshot-keep").unsigned_abs() as usize,
                grace: KeeperSettings::GRACE,
                directory: directory.join("put"),
            };
            keeper = Some(Keeper::start(put, published.clone(), bucket).map_err(unusable)?);
        }
    } else if settings.get("snapshot-interval").is_some() {
        return Err("snapshot-interval is set, but not where to put them; set snapshots, too".into());
    }
    let least = settings.integer("snapshot-min-records").unsigned_abs();
    let bringer = Bringer::new(sources, directory.join("in"), least).map_err(unusable)?;
    let offers = Offers::new(directory.join("out")).map_err(unusable)?;
    Ok(SetUp {
        parts: SnapshotParts {
            from: Some(Arc::new(bringer)),
            offers: Some(Arc::new(offers)),
        },
        keeper,
    })
}

/// Who may have a task's state open: its owner, its standbys, then everybody, since who has just given it back says so no more.
fn peers(cluster: &Cluster, wanted: &Wanted) -> Vec<(String, String)> {
    let begun = std::time::Instant::now();
    while !cluster.is_known() && begun.elapsed() < KNOWN_WITHIN {
        std::thread::sleep(LOOK);
    }
    let now = threads::moment();
    let (topology, generation, task) = (wanted.topology.as_str(), wanted.generation, wanted.task);
    let owner = cluster.owner(topology, generation, task, now);
    let standbys = cluster.standbys(topology, generation, task, now);
    let likely = owner.into_iter().chain(standbys.into_iter().map(|(peer, _)| peer));
    let mut found: Vec<(String, String)> = likely.map(|peer| (peer.instance, peer.url)).collect();
    for record in cluster.instances(now) {
        if let Some(url) = record.url
            && record.instance != cluster.instance()
        {
            found.push((record.instance, url));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|(instance, _)| seen.insert(instance.clone()));
    found.truncate(MOST_PEERS);
    found
}
