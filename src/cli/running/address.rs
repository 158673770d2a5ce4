//! A warning for an instance that others cannot reach: without an address it is a black hole for whoever asks for its rows.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::engine::cluster::Cluster;
use crate::engine::{Moment, Published, threads};

/// Between two looks for others.
const LOOK: Duration = Duration::from_secs(3);

/// Another live instance, which cannot reach this one. `None`: this one has an address, or is alone.
fn cut_off_from(cluster: &Cluster, now: Moment) -> Option<String> {
    if cluster.url().is_some() {
        return None;
    }
    let others = cluster.instances(now).into_iter().map(|other| other.instance);
    others.into_iter().find(|other| other != cluster.instance())
}

/// Says so once in the log, when the first other instance is seen; ends with the process.
pub fn watch(published: &Arc<Published>) {
    let published: Weak<Published> = Arc::downgrade(published);
    tokio::spawn(async move {
        while let Some(published) = published.upgrade() {
            if let Some(other) = cut_off_from(published.cluster(), threads::moment()) {
                tracing::warn!(
                    other,
                    "other instances of this application run, and cannot reach this one: reads of its rows fail there; give --http an address that \
                     they reach, or say --advertised-url"
                );
                return;
            }
            drop(published);
            tokio::time::sleep(LOOK).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cluster::InstanceRecord;

    const NOW: Moment = Moment::of(1_000);

    #[test]
    fn an_instance_without_an_address_notices_that_others_are_there() {
        let other = InstanceRecord {
            instance: "bob".into(),
            ..InstanceRecord::default()
        };
        let hidden = Cluster::default();
        hidden.name("ann", None);
        assert_eq!(cut_off_from(&hidden, NOW), None, "it is alone");
        hidden.learn(other.clone(), NOW);
        assert_eq!(cut_off_from(&hidden, NOW).as_deref(), Some("bob"));
        let reachable = Cluster::default();
        reachable.name("ann", Some("http://10.0.0.7:8080".into()));
        reachable.learn(other, NOW);
        assert_eq!(cut_off_from(&reachable, NOW), None);
    }
}
