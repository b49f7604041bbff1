//! What is worth remembering about tokens that were judged: bounded, without bookkeeping on use.

use std::collections::HashMap;

/// Verdicts that are kept: at most twice as many.
const GENERATION_MAX: usize = 4096;

/// SHA-256 of a token's text, so that no token stays in memory for being remembered.
pub(super) type Key = [u8; 32];

/// Two generations: when the younger is full the older is forgotten, and what is still asked for
/// moves to the younger.
#[derive(Debug)]
pub(super) struct Memory<V> {
    young: HashMap<Key, V>,
    old: HashMap<Key, V>,
}

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<V: Clone> Memory<V> {
    /// What is remembered, if it still `holds`; else it is forgotten.
    pub fn get(&mut self, key: &Key, holds: impl Fn(&V) -> bool) -> Option<V> {
        let value = match self.young.get(key) {
            Some(value) => value.clone(),
            None => {
                let value = self.old.remove(key)?;
                self.put(*key, value.clone());
                value
            }
        };
        if holds(&value) {
            Some(value)
        } else {
            self.young.remove(key);
            None
        }
    }

    pub fn put(&mut self, key: Key, value: V) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let mut memory = Memory::default();
        for number in 0..10 * GENERATION_MAX {
            memory.put(key(number), number);
            assert_eq!(memory.get(&key(0), |_| true), Some(0), "at {number}");
            assert!(memory.young.len() <= GENERATION_MAX && memory.old.len() <= GENERATION_MAX);
        }
        assert_eq!(memory.get(&key(1), |_| true), None);
    }

    #[test]
    fn what_does_not_hold_is_forgotten() {
        let mut memory = Memory::default();
        memory.put(key(1), "one");
        assert_eq!(memory.get(&key(1), |_| false), None);
        assert_eq!(memory.get(&key(1), |_| true), None);
    }
}
