//! The text of BYTES.

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64 as Java's basic decoder takes it: padding may be missing, and the bits behind the last byte may be anything.
pub const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn what_java_takes_is_taken() {
        for text in ["MNP=", "MNM=", "MNM"] {
            assert_eq!(BASE64.decode(text).unwrap(), [0x30, 0xd3], "{text}");
        }
        assert!(BASE64.decode("M?M=").is_err());
        assert_eq!(BASE64.encode([0x30, 0xd3]), "MNM=");
    }
}
