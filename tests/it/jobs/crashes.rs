//! Where an instance is made to die: at the fail points that are compiled in, else nowhere in particular.

use std::time::Duration;

use super::process::{Killed, Millstream};
use super::random::Random;

/// How long a process may take to reach its fail point before it is killed anyway.
#[cfg(feature = "failpoints")]
const FAILPOINT_WAIT: Duration = Duration::from_secs(20);

/// Names of fail points; those of a restore are passed rarely.
#[cfg(feature = "failpoints")]
pub const FAILPOINTS: [&str; 5] = [
    "outputs-sent",
    "offsets-sent",
    "committed-not-applied",
    "mid-flush",
    "mid-restore",
];

/// Where the next death is to be.
#[cfg(feature = "failpoints")]
pub fn choose(random: &mut Random) -> Option<(&'static str, String)> {
    if !random.chance(33) {
        return None;
    }
    let name = FAILPOINTS[random.below(FAILPOINTS.len() as u64) as usize];
    Some((name, setting(name, random)))
}

#[cfg(not(feature = "failpoints"))]
pub fn choose(_: &mut Random) -> Option<(&'static str, String)> {
    None
}

/// Which passing of a fail point kills.
#[cfg(feature = "failpoints")]
pub fn setting(name: &str, random: &mut Random) -> String {
    match name {
        "mid-restore" => format!("{name}:1"),
        _ => format!("{name}:{}", 1 + random.below(30)),
    }
}

/// Waits for the death at a fail point; kills at a random moment where there is none or it is not reached.
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "there are none"))]
pub fn die(process: &mut Millstream, point: Option<&'static str>, after: Duration) -> Killed {
    #[cfg(feature = "failpoints")]
    if let Some(name) = point
        && process.dies_within(FAILPOINT_WAIT)
    {
        return Killed::At(name);
    }
    process.must_live_for(after);
    process.kill();
    Killed::Anywhere
}
