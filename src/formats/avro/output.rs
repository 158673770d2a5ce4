//! Avro's binary encoding, the pieces that are written.

/// `int` and `long`: zigzag, seven bits a byte.
#[inline]
pub(super) fn long(n: i64, out: &mut Vec<u8>) {
    let mut z = ((n << 1) ^ (n >> 63)) as u64;
    while z >= 0x80 {
        out.push(z as u8 | 0x80);
        z >>= 7;
    }
    out.push(z as u8);
}

/// `bytes` and `string`: length and bytes.
#[inline]
pub(super) fn bytes(b: &[u8], out: &mut Vec<u8>) {
    long(b.len() as i64, out);
    out.extend_from_slice(b);
}

/// An integer as the fewest big-endian two's-complement bytes, as Java's `BigInteger.toByteArray`.
pub(in super::super) fn integer(n: i128, buffer: &mut [u8; 16]) -> &[u8] {
    *buffer = n.to_be_bytes();
    let fill = if n < 0 { 0xff } else { 0 };
    let mut start = 0;
    while start < 15 && buffer[start] == fill && (buffer[start + 1] & 0x80 != 0) == (n < 0) {
        start += 1;
    }
    &buffer[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_the_fewest_bytes() {
        let of = |n: i128| integer(n, &mut [0; 16]).to_vec();
        assert_eq!(of(0), [0]);
        assert_eq!(of(127), [127]);
        assert_eq!(of(128), [0, 128]);
        assert_eq!(of(-128), [128]);
        assert_eq!(of(-129), [0xff, 0x7f]);
        assert_eq!(of(i128::MAX).len(), 16);
    }
}
