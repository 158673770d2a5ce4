//! Decompression of a batch's records, with an end to what it may expand to.
//!
//! A few hundred bytes of gzip, lz4 or zstd can stand for gigabytes, and they come from outside. Each codec is read as a stream that is cut at the bound;
//! snappy, which is not one, says beforehand how long its blocks are.

use std::io::Read;

use bytes::{Buf, Bytes};
use kafka_protocol::compression::{Decompressor, Snappy};

use super::error::{ErrorCode, Result};

/// What the records of one batch may expand to, in bytes: more than twice the largest request that a broker takes uncompressed (100 MB), and little enough
/// that a machine which runs us survives a hostile one.
pub const MAX_EXPANDED_BYTES: usize = 256 << 20;
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\x00";
/// Bytes before the first block of that framing: the magic and two versions.
const XERIAL_HEADER: usize = 16;

/// The records' bytes. `codec` is a batch's: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
///
/// # Errors
/// [`ErrorCode::MessageTooLarge`] beyond [`MAX_EXPANDED_BYTES`], [`ErrorCode::CorruptMessage`] for bytes that are not of the codec,
/// [`ErrorCode::InvalidRecord`] for no codec of Kafka's.
pub fn expand(codec: i16, mut body: Bytes) -> Result<Bytes> {
    let corrupt = |error: &dyn std::fmt::Display| {
        tracing::debug!(%error, "a record batch does not decompress");
        ErrorCode::CorruptMessage
    };
    match codec {
        0 => Ok(body),
        1 => read_bounded(flate2::read::MultiGzDecoder::new(body.reader())),
        2 => {
            if snappy_length(&body) > MAX_EXPANDED_BYTES as u64 {
                return Err(ErrorCode::MessageTooLarge);
            }
            Snappy::decompress(&mut body, |out: &mut Bytes| Ok(std::mem::take(out))).map_err(|error| corrupt(&error))
        }
        3 => read_bounded(lz4::Decoder::new(body.reader()).map_err(|error| corrupt(&error))?),
        4 => read_bounded(zstd::stream::read::Decoder::new(body.reader()).map_err(|error| corrupt(&error))?),
        _ => Err(ErrorCode::InvalidRecord),
    }
}

fn read_bounded(stream: impl Read) -> Result<Bytes> {
    let mut out = Vec::new();
    let read = stream.take(MAX_EXPANDED_BYTES as u64 + 1).read_to_end(&mut out);
    if let Err(error) = read {
        tracing::debug!(%error, "a record batch does not decompress");
        return Err(ErrorCode::CorruptMessage);
    }
    if out.len() > MAX_EXPANDED_BYTES {
        return Err(ErrorCode::MessageTooLarge);
    }
    Ok(out.into())
}

/// The length that a snappy stream claims: its blocks may say up to 4 GB in five bytes, and memory is taken before they are read.
fn snappy_length(body: &Bytes) -> u64 {
    if !body.starts_with(XERIAL_MAGIC) || body.len() < XERIAL_HEADER {
        return claimed(body);
    }
    let mut rest = body.slice(XERIAL_HEADER..);
    let mut total = 0u64;
    while rest.len() >= 4 {
        let block = rest.get_u32() as usize;
        if block > rest.len() {
            // the decoder stops there with an error, too
            break;
        }
        total = total.saturating_add(claimed(&rest.split_to(block)));
    }
    total
}

/// The length at the start of a snappy block; 0 if there is none, which the decoder refuses.
fn claimed(block: &[u8]) -> u64 {
    let mut length = 0u64;
    for (i, byte) in block.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return length;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use bytes::BytesMut;
    use kafka_protocol::compression::{Compressor, Gzip, Lz4, Zstd};

    use super::*;

    /// Zeros by the megabyte through an encoder that takes them as a stream.
    fn zeros(out: &mut impl Write, megabytes: usize) {
        let megabyte = vec![0; 1 << 20];
        (0..megabytes).for_each(|_| out.write_all(&megabyte).unwrap());
    }

    fn bomb(codec: i16, megabytes: usize) -> Bytes {
        match codec {
            1 => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                zeros(&mut encoder, megabytes);
                encoder.finish().unwrap().into()
            }
            // no need for the zeros: memory goes by the length that is claimed
            2 => [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0].to_vec().into(),
            3 => {
                let mut encoder = lz4::EncoderBuilder::new().build(Vec::new()).unwrap();
                zeros(&mut encoder, megabytes);
                encoder.finish().0.into()
            }
            _ => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                zeros(&mut encoder, megabytes);
                encoder.finish().unwrap().into()
            }
        }
    }

    #[test]
    fn a_bomb_is_too_large_in_every_codec() {
        for codec in 1..=4 {
            let bomb = bomb(codec, (MAX_EXPANDED_BYTES >> 20) + 1);
            assert!(bomb.len() < 2 << 20, "codec {codec}: {} bytes", bomb.len());
            assert_eq!(expand(codec, bomb), Err(ErrorCode::MessageTooLarge), "codec {codec}");
        }
        // blocks that are small one by one
        let block = [&4u32.to_be_bytes()[..], &[0xff, 0xff, 0xff, 0x7f]].concat();
        let framed = [XERIAL_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1], &block, &block].concat();
        assert_eq!(expand(2, framed.into()), Err(ErrorCode::MessageTooLarge));
    }

    #[test]
    fn what_clients_send_comes_back_and_what_is_broken_is_corrupt() {
        let text = b"records ".repeat(1_000);
        for codec in 1..=4 {
            let mut sent = BytesMut::new();
            let fill = |buffer: &mut BytesMut| {
                buffer.extend_from_slice(&text);
                Ok(())
            };
            match codec {
                1 => Gzip::compress(&mut sent, fill),
                2 => Snappy::compress(&mut sent, fill),
                3 => Lz4::compress(&mut sent, fill),
                _ => Zstd::compress(&mut sent, fill),
            }
            .unwrap();
            let sent = sent.freeze();
            assert_eq!(expand(codec, sent.clone()).as_deref(), Ok(&text[..]), "codec {codec}");
            let garbage = Bytes::from_static(b"none of them begins like this");
            assert_eq!(expand(codec, garbage), Err(ErrorCode::CorruptMessage), "codec {codec}");
        }
        assert_eq!(expand(5, Bytes::new()), Err(ErrorCode::InvalidRecord));
        assert_eq!(
            expand(0, Bytes::from_static(b"as it is")),
            Ok(Bytes::from_static(b"as it is"))
        );
    }
}
