//! Articles and comments with hot articles: titles change, comments come, go, and move to other articles, articles are deleted and come again. In the end every
//! article has its exact count of comments, and every comment its article's title.

use std::collections::BTreeMap;

use millstream::log::{TopicHandle, partition_for_key};
use serde_json::{Value as Json, json};

use super::cluster::{Cluster, Read};
use super::load::{Load, Sender, Ticks};
use super::random::Random;

const PARTITIONS: i32 = 3;
const ARTICLES: u64 = 40;
const SQL: &str = "
CREATE TABLE articles (id BIGINT PRIMARY KEY, title STRING)
  WITH (KAFKA_TOPIC = 'articles', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 3);
CREATE TABLE comments (id BIGINT PRIMARY KEY, article_id BIGINT, body STRING)
  WITH (KAFKA_TOPIC = 'comments', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 3);
CREATE TABLE titled_comments WITH (KAFKA_TOPIC = 'titled-comments') AS
  SELECT c.id AS id, c.article_id AS article_id, a.title AS title, c.body AS body
  FROM comments c JOIN articles a ON c.article_id = a.id;
CREATE TABLE comment_counts WITH (KAFKA_TOPIC = 'comment-counts') AS
  SELECT article_id, COUNT(*) AS comments FROM comments GROUP BY article_id;
CREATE TABLE counted_articles WITH (KAFKA_TOPIC = 'counted-articles') AS
  SELECT a.id AS id, a.title AS title, n.comments AS comments
  FROM articles a LEFT JOIN comment_counts n ON a.id = n.article_id;
";

/// What sends them.
pub struct Articles {
    sender: Sender,
    articles: TopicHandle,
    comments: TopicHandle,
    random: Random,
    /// Comments that there have been.
    written: u64,
}

impl Articles {
    /// Writes the SQL and creates the topics.
    pub fn prepare(cluster: &Cluster) {
        cluster.write_sql("articles.sql", SQL);
        cluster.create_topics(&[("articles", PARTITIONS), ("comments", PARTITIONS)], &[]);
    }

    /// Sends articles and comments until it is stopped.
    pub fn load(cluster: &Cluster, random: Random) -> Load<Self> {
        let mut sender = Sender::new(cluster);
        let articles = sender.topic(&cluster.topic("articles"));
        let comments = sender.topic(&cluster.topic("comments"));
        Load::start(Self {
            sender,
            articles,
            comments,
            random,
            written: 0,
        })
    }

    fn send(&mut self, topic: TopicHandle, id: u64, row: Option<Json>, tick: i64) {
        let key = id.to_be_bytes();
        let body = row.map(|row| row.to_string());
        let (partition, value) = (partition_for_key(&key, PARTITIONS), body.as_deref().map(str::as_bytes));
        self.sender
            .send(topic, partition, 1_700_000_000_000 + tick, Some(&key), value);
    }

    fn comment(&mut self, id: u64, tick: i64) {
        let row = json!({ "ARTICLE_ID": self.random.skewed(ARTICLES), "BODY": format!("{id} at {tick}") });
        self.send(self.comments, id, Some(row), tick);
    }

    /// What is not as the newest articles and comments say.
    pub fn differences(cluster: &Cluster) -> Vec<String> {
        let articles = cluster.table("articles", Read::number_key);
        let comments = cluster.table("comments", Read::number_key);
        let titled = cluster.table("titled-comments", Read::number_key);
        let counted = cluster.table("counted-articles", Read::number_key);
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        let mut expected: BTreeMap<i64, Json> = BTreeMap::new();
        for (id, comment) in &comments {
            let article = comment["ARTICLE_ID"].as_i64().expect("an article");
            *counts.entry(article).or_default() += 1;
            if let Some(row) = articles.get(&article) {
                let row = json!({ "ARTICLE_ID": article, "TITLE": row["TITLE"], "BODY": comment["BODY"] });
                expected.insert(*id, row);
            }
        }
        let mut found = compare("titled-comments", &expected, &titled);
        let with_count = |(id, row): (&i64, &Json)| {
            let count = counts.get(id).map_or(Json::Null, |count| json!(count));
            (*id, json!({ "TITLE": row["TITLE"], "COMMENTS": count }))
        };
        let expected = articles.iter().map(with_count).collect();
        found.extend(compare("counted-articles", &expected, &counted));
        found
    }

    /// How much there is of it.
    pub fn size(cluster: &Cluster) -> String {
        let records = |name: &str| cluster.read(&cluster.topic(name)).len();
        let (articles, comments) = (records("articles"), records("comments"));
        format!("{articles} records of articles and {comments} of comments")
    }
}

impl Ticks for Articles {
    fn tick(&mut self, tick: i64) {
        for _ in 0..2 {
            self.written += 1;
            self.comment(self.written, tick);
        }
        let older = 1 + self.random.below(self.written);
        match tick % 4 {
            0 => self.comment(older, tick),
            1 => self.send(self.comments, older, None, tick),
            _ => {}
        }
        let article = self.random.skewed(ARTICLES);
        let title = json!({ "TITLE": format!("Article {article} at {tick}") });
        match tick % 10 {
            3 => self.send(self.articles, article, None, tick),
            0 | 5 => self.send(self.articles, article, Some(title), tick),
            _ => {}
        }
        self.sender.flush();
    }
}

fn compare(topic: &str, expected: &BTreeMap<i64, Json>, found: &BTreeMap<i64, Json>) -> Vec<String> {
    let extra = found.keys().filter(|id| !expected.contains_key(id));
    let extra = extra.map(|id| format!("{topic} {id}: expected nothing, found {}", found[id]));
    let wrong = expected.iter().filter(|(id, row)| found.get(id) != Some(row));
    let wrong = wrong.map(|(id, row)| format!("{topic} {id}: expected {row}, found {:?}", found.get(id)));
    extra.chain(wrong).take(5).collect()
}
