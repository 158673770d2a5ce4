//! Names of groups, internal topics, transactional ids and store directories. They come from SQL names and the generation, never from
//! counters, so that they survive unrelated edits of the SQL.

use crate::topology::SubId;

/// The names of one generation of one topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    app: String,
    topology: String,
    generation: u32,
}

impl Names {
    /// Names of a topology's generation; the first one is 0.
    pub fn new(app: &str, topology: &str, generation: u32) -> Self {
        Self {
            app: app.into(),
            topology: topology.into(),
            generation,
        }
    }

    /// The generation.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// `<app>.<topology>`, and `.gN` behind it for generations after the first.
    fn base(&self) -> String {
        match self.generation {
            0 => format!("{}.{}", self.app, self.topology),
            n => format!("{}.{}.g{n}", self.app, self.topology),
        }
    }

    /// The consumer group.
    pub fn group(&self) -> String {
        self.base()
    }

    /// The topic whose partitions are the tasks. It has a generation, since an input that gained partitions changes the tasks.
    pub fn tasks_topic(&self) -> String {
        format!("{}.tasks", self.base())
    }

    /// The changelog of a store.
    pub fn changelog(&self, store: &str) -> String {
        format!("{}.{store}.changelog", self.base())
    }

    /// The topic of a repartition.
    pub fn repartition(&self, name: &str) -> String {
        format!("{}.{name}.repartition", self.base())
    }

    /// Where bad input goes; the same for all generations.
    pub fn dead_letters(&self) -> String {
        format!("{}.{}.dead-letters", self.app, self.topology)
    }

    /// The application's control topic; the same for all topologies.
    pub fn control_topic(app: &str) -> String {
        format!("{app}.control")
    }

    /// The topic in which the application's instances say what they do.
    pub fn instances_topic(app: &str) -> String {
        format!("{app}.instances")
    }

    /// `group.instance.id` and `transactional.id` of a worker.
    pub fn member(&self, instance: &str, worker: usize) -> String {
        format!("{}.{instance}.{worker}", self.base())
    }

    /// The directory of a task's store, relative to the data directory.
    pub fn store(&self, sub: SubId, partition: i32) -> String {
        format!("{}/{sub}_{partition}", self.stores())
    }

    /// The directory of the store of global tables, relative to the data directory.
    pub fn globals(&self) -> String {
        format!("{}/global", self.stores())
    }

    /// The directory of this generation's stores.
    pub fn stores(&self) -> String {
        format!("{}/g{}", self.topology, self.generation)
    }

    /// Whether `topic` is one of this generation's internal topics.
    pub fn owns_topic(&self, topic: &str) -> bool {
        let Some(rest) = topic.strip_prefix(&format!("{}.", self.base())) else {
            return false;
        };
        let mut parts = rest.split('.');
        let first = parts.next().unwrap_or_default();
        match (parts.next(), parts.next()) {
            (None, _) => first == "tasks",
            (Some("changelog" | "repartition"), None) => true,
            _ => false,
        }
    }
}

impl crate::topology::InternalNames for Names {
    fn repartition(&self, name: &str) -> String {
        Self::repartition(self, name)
    }

    fn changelog(&self, store: &str) -> String {
        Self::changelog(self, store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_generation_has_plain_names() {
        let names = Names::new("app", "ratings", 0);
        assert_eq!(names.group(), "app.ratings");
        assert_eq!(names.changelog("COUNTS"), "app.ratings.COUNTS.changelog");
        assert_eq!(names.tasks_topic(), "app.ratings.tasks");
        let second = Names::new("app", "ratings", 2);
        assert_eq!(second.repartition("X"), "app.ratings.g2.X.repartition");
        assert_eq!(second.dead_letters(), names.dead_letters());
        assert_eq!(second.store(0, 3), "ratings/g2/0_3");
    }

    #[test]
    fn a_generation_owns_only_its_own_topics() {
        let (first, second) = (Names::new("app", "ratings", 0), Names::new("app", "ratings", 1));
        for (topic, of_first, of_second) in [
            ("app.ratings.tasks", true, false),
            ("app.ratings.g1.tasks", false, true),
            ("app.ratings.COUNTS.changelog", true, false),
            ("app.ratings.g1.COUNTS.changelog", false, true),
            ("app.ratings.dead-letters", false, false),
            ("app.ratings2.tasks", false, false),
            ("ratings", false, false),
        ] {
            assert_eq!(
                (first.owns_topic(topic), second.owns_topic(topic)),
                (of_first, of_second),
                "{topic}"
            );
        }
    }
}
