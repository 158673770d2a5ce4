//! RANDOM and UUID. A task must not have randomness of its own, so both are computed from what the call is given: the row with its key and its time,
//! its record's position, the wall clock, and which call of the query it is. The same record at the same clock gives the same result, two calls in one
//! query differ.

use super::bytes::bytes;
use super::{CallContext, EvalError, Signature, Ty};
use crate::types::{Value, encode_key};

type Result = std::result::Result<Value, EvalError>;

functions! {
    "RANDOM"() -> Ty::Double, random, "A number from 0 to below 1, computed from the row, the clock and the place of the call.",
        ["RANDOM() >= 0 AND RANDOM() < 1" => "TRUE"] .computed_anew().sees_nulls();
    "UUID"() -> Ty::String, uuid, "A UUID of version 4, computed from the row, the clock and the place of the call.", ["LEN(UUID())" => "36"]
        .computed_anew().sees_nulls();
    "UUID"(Ty::Bytes) -> Ty::String, uuid_of, "The UUID of 16 bytes; NULL if they are more or fewer.",
        ["UUID(TO_BYTES('237e9877e79b12d4a765321741963000', 'hex'))" => "'237e9877-e79b-12d4-a765-321741963000'"];
}

/// What no other call of the same instant has, hashed.
fn seed(args: &[Value], call: &CallContext<'_>) -> [u8; 16] {
    let mut input = Vec::with_capacity(64);
    for part in [call.site, call.row.timestamp as u64, call.row.now as u64] {
        input.extend_from_slice(&part.to_be_bytes());
    }
    encode_key(call.row.key, &mut input);
    encode_key(call.row.value, &mut input);
    encode_key(args, &mut input);
    *uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &input).as_bytes()
}

fn random(args: &[Value], call: &CallContext<'_>) -> Result {
    let seed = seed(args, call);
    let mut bits = [0; 8];
    // the bytes that the version and the variant of a UUID leave free
    bits[..6].copy_from_slice(&seed[..6]);
    bits[6..].copy_from_slice(&seed[14..]);
    let bits = u64::from_be_bytes(bits) >> 11;
    Ok(Value::Double(bits as f64 / (1u64 << 53) as f64))
}

fn uuid(args: &[Value], call: &CallContext<'_>) -> Result {
    let uuid = uuid::Builder::from_random_bytes(seed(args, call)).into_uuid();
    Ok(Value::string(uuid.to_string()))
}

fn uuid_of(args: &[Value], _: &CallContext<'_>) -> Result {
    let uuid = uuid::Uuid::from_slice(bytes(&args[0]));
    Ok(uuid.map_or(Value::Null, |uuid| Value::string(uuid.to_string())))
}
