//! Tokens: what a writer has written, as text that it hands to a reader.
//!
//! ```text
//! | version 1 | a topic: length of its name 2, name, number of partitions 4, and of each: partition 4, next offset 8 | ... | crc32c of all before, 4 |
//! ```
//!
//! in base64url. Other producers' records are named by hand, `topic:partition:offset,...`, as their acknowledgements say it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ViewError;
use crate::types::{Position, TopicPartition};

const VERSION: u8 = 1;
/// Characters of a token; what is longer is none of ours.
const MAX_TEXT: usize = 32 << 10;
const HINT: &str =
    "Pass the token of the answer to POST /v1/streams/{name} unchanged, or records as topic:partition:offset,...";

/// Records that a reader wants to see the effects of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token {
    next: BTreeMap<Arc<str>, BTreeMap<i32, i64>>,
    by_hand: bool,
}

impl Token {
    /// Of written records.
    pub fn of_records<'a>(records: impl IntoIterator<Item = &'a Position>) -> Self {
        let mut token = Self::default();
        for record in records {
            token.add(&record.tp, record.offset.saturating_add(1));
        }
        token
    }

    /// Asks for what another token asks for, too.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(tp, next)| self.add(&tp, next));
    }

    /// Asks for everything below the next offset of a partition.
    fn add(&mut self, tp: &TopicPartition, next: i64) {
        let partitions = self.next.entry(tp.topic.clone()).or_default();
        let known = partitions.entry(tp.partition).or_insert(next);
        *known = (*known).max(next);
    }

    /// The next offsets that it asks for, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicPartition, i64)> {
        self.next.iter().flat_map(|(topic, partitions)| {
            let of = move |(partition, next): (&i32, &i64)| (TopicPartition::new(topic.clone(), *partition), *next);
            partitions.iter().map(of)
        })
    }

    /// Whether somebody has typed it, rather than got it from us.
    pub(super) fn is_by_hand(&self) -> bool {
        self.by_hand
    }

    /// As text.
    pub fn encode(&self) -> String {
        let mut bytes = vec![VERSION];
        for (topic, partitions) in &self.next {
            let name = topic.as_bytes();
            bytes.extend_from_slice(&(name.len() as u16).to_be_bytes());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&(partitions.len() as u32).to_be_bytes());
            for (partition, next) in partitions {
                bytes.extend_from_slice(&partition.to_be_bytes());
                bytes.extend_from_slice(&next.to_be_bytes());
            }
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What [`Self::encode`] has written, or records named by hand.
    ///
    /// # Errors
    /// [`ViewError::BadRequest`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ViewError> {
        if text.is_empty() || text.len() > MAX_TEXT {
            return Err(ViewError::bad(format!("a token of {} characters", text.len()), HINT));
        }
        if text.contains(':') {
            return by_hand(text);
        }
        decode(text).ok_or_else(|| ViewError::bad("the token is damaged, or of another version", HINT))
    }
}

fn by_hand(text: &str) -> Result<Token, ViewError> {
    let mut token = Token {
        by_hand: true,
        ..Token::default()
    };
    for part in text.split(',') {
        let mut pieces = part.rsplitn(3, ':');
        let offset = pieces.next().and_then(|text| text.parse::<i64>().ok());
        let partition = pieces.next().and_then(|text| text.parse::<i32>().ok());
        let topic = pieces.next().filter(|topic| !topic.is_empty());
        let (Some(offset @ 0..), Some(partition @ 0..), Some(topic)) = (offset, partition, topic) else {
            return Err(ViewError::bad(
                format!("{part:?} names no record: it is not topic:partition:offset"),
                HINT,
            ));
        };
        token.add(&TopicPartition::new(topic, partition), offset.saturating_add(1));
    }
    Ok(token)
}

/// Takes bytes off the front.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn decode(text: &str) -> Option<Token> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let (version, mut rest) = body.split_first()?;
    if *version != VERSION || crc32c::crc32c(body).to_be_bytes() != *crc {
        return None;
    }
    let mut token = Token::default();
    while !rest.is_empty() {
        let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let (name, tail) = rest.split_at_checked(length)?;
        rest = tail;
        let topic: Arc<str> = std::str::from_utf8(name).ok()?.into();
        for _ in 0..u32::from_be_bytes(take(&mut rest)?) {
            let partition = i32::from_be_bytes(take(&mut rest)?);
            let next = i64::from_be_bytes(take(&mut rest)?);
            token.add(&TopicPartition::new(topic.clone(), partition), next);
        }
    }
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(topic: &str, partition: i32, offset: i64) -> Position {
        Position {
            tp: TopicPartition::new(topic, partition),
            offset,
        }
    }

    #[test]
    fn a_token_reads_back_and_is_the_highest_offset_of_each_partition() {
        let records = [
            position("a.b-c", 0, 7),
            position("a.b-c", 3, 1),
            position("a.b-c", 0, 9),
            position("x", 0, i64::MAX),
        ];
        let token = Token::of_records(&records);
        let text = token.encode();
        assert!(
            text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)),
            "{text}"
        );
        assert_eq!(Token::parse(&text).unwrap(), token);
        let next: Vec<i64> = token.iter().map(|(_, next)| next).collect();
        assert_eq!(next, [10, 2, i64::MAX]);
        let by_hand = Token::parse("a.b-c:0:7,x:0:9223372036854775807,a.b-c:3:1,a.b-c:0:9").unwrap();
        assert!(by_hand.iter().eq(token.iter()) && by_hand.is_by_hand());
    }

    #[test]
    fn tokens_of_several_writes_become_one() {
        let (first, second) = (position("t", 0, 5), position("t", 1, 3));
        let mut token = Token::of_records([&first]);
        token.merge(&Token::of_records([&second, &position("t", 0, 2)]));
        assert_eq!(token, Token::of_records([&first, &second]));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let text = Token::of_records(&[position("t", 0, 1)]).encode();
        let changed = format!("{}A{}", &text[..4], &text[5..]);
        let long = "A".repeat(MAX_TEXT + 1);
        for wrong in [
            "",
            "x",
            &text[1..],
            &changed,
            &long,
            "t:0",
            "t:0:",
            "t:0:-1",
            "t:-1:0",
            ":0:0",
            "t:0:1,",
            "t:a:1",
        ] {
            let error = Token::parse(wrong).unwrap_err();
            assert!(error.hint().contains("topic:partition:offset"), "{wrong}: {error}");
        }
    }
}
