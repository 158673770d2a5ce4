//! An instance that is frozen for longer than its session and its transaction last, replaced, and thawed: it is fenced, and goes on as a healthy member.

use super::numbers::{EVERY_CHANGE, Load, exact, ground, progress};
use crate::patience::until;

#[test]
fn a_frozen_instance_is_replaced_and_fenced_when_it_wakes_up() {
    let ground = ground("zombie");
    let mut first = ground.start("one", &EVERY_CHANGE);
    let load = Load::start(&ground);
    progress(&ground);
    first.process.signal(libc::SIGSTOP);
    let mut second = ground.start("two", &EVERY_CHANGE);
    // the second has all tasks, and everything that the first had not committed
    progress(&ground);
    progress(&ground);
    first.process.signal(libc::SIGCONT);
    until("a word of the zombie", || {
        first.process.must_live();
        let said = |text: &str| !first.process.lines(text).is_empty();
        said("tasks were lost") || said("clients are opened anew") || said("dropped and done again")
    });
    first.is_ready();
    progress(&ground);
    // it takes its part again: all of it, when the other has gone
    second.process.stop();
    progress(&ground);
    load.stop();
    exact(&ground, &mut first);
    assert!(first.metric("millstream_records_in_total", &[]) > 0.0);
    first.process.stop();
}
