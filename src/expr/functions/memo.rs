//! What functions have prepared for texts that come again with every row: compiled regular expressions, patterns of times, time zones.
//!
//! It is *not* state: a result is the same with and without it. A thread has its own, so nothing is locked.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;

/// Texts of a plan are constants, nearly always; when they come from the data and are many, it starts anew.
const MAX_ENTRIES: usize = 256;

/// Prepared things by their text.
pub(super) struct Memo<T>(RefCell<FxHashMap<Box<str>, Rc<T>>>);

impl<T> Memo<T> {
    pub(super) fn new() -> Self {
        Self(RefCell::default())
    }

    /// The thing of a text, made at the first time. What cannot be made is not kept.
    pub(super) fn get<E>(&self, text: &str, make: impl FnOnce() -> Result<T, E>) -> Result<Rc<T>, E> {
        if let Some(known) = self.0.borrow().get(text) {
            return Ok(Rc::clone(known));
        }
        let made = Rc::new(make()?);
        let mut entries = self.0.borrow_mut();
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(text.into(), Rc::clone(&made));
        Ok(made)
    }
}
