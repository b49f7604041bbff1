//! Events on their way out: packed into compressed chunks of bounded size, which wait in bounded
//! memory. What does not fit is counted, oldest first, and nobody waits for it.

use std::collections::VecDeque;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Events compress to a tenth and better; packed earlier, a chunk would be needlessly small.
const EXPECTED_RATIO: usize = 8;

/// A gzip-compressed JSON array of events.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pub body: Bytes,
    pub events: u64,
}

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Chunks {
    /// Of a chunk, compressed.
    chunk_max: usize,
    /// Of everything that waits.
    bytes_max: usize,
    open: Vec<Vec<u8>>,
    open_bytes: usize,
    closed: VecDeque<Chunk>,
    closed_bytes: usize,
    counts: Counts,
}

/// Events that will never be sent, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// There was no space left.
    pub overflowed: u64,
    /// One event by itself was over the bound of a chunk.
    pub too_large: u64,
}

impl Chunks {
    pub(super) fn new(chunk_max: usize, bytes_max: usize) -> Self {
        Self {
            chunk_max,
            bytes_max,
            open: Vec::new(),
            open_bytes: 0,
            closed: VecDeque::new(),
            closed_bytes: 0,
            counts: Counts::default(),
        }
    }

    /// Takes one event, as JSON.
    pub(super) fn push(&mut self, event: Vec<u8>) {
        self.open_bytes += event.len() + 1;
        self.open.push(event);
        if self.open_bytes >= self.chunk_max.saturating_mul(EXPECTED_RATIO) {
            self.close();
        }
        self.make_room();
    }

    /// Whether there is a chunk that need not wait for company.
    pub(super) fn has_full(&self) -> bool {
        !self.closed.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.is_empty()
    }

    /// The oldest chunk; what is still open is closed for it.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        if self.closed.is_empty() {
            self.close();
        }
        let chunk = self.closed.pop_front()?;
        self.closed_bytes -= chunk.body.len();
        Some(chunk)
    }

    /// A chunk that could not be sent, to be the first again.
    pub(super) fn put_back(&mut self, chunk: Chunk) {
        self.closed_bytes += chunk.body.len();
        self.closed.push_front(chunk);
        self.make_room();
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.open_bytes = 0;
        self.pack(&open);
    }

    /// Halves until each part fits.
    fn pack(&mut self, events: &[Vec<u8>]) {
        if events.is_empty() {
            return;
        }
        let body = compress(events);
        if body.len() <= self.chunk_max {
            self.closed_bytes += body.len();
            let events = u64::try_from(events.len()).unwrap_or(u64::MAX);
            self.closed.push_back(Chunk { body: body.into(), events });
            return;
        }
        if events.len() == 1 {
            self.counts.too_large += 1;
            return;
        }
        let (one, other) = events.split_at(events.len() / 2);
        self.pack(one);
        self.pack(other);
    }

    fn make_room(&mut self) {
        while self.closed_bytes + self.open_bytes > self.bytes_max {
            let Some(oldest) = self.closed.pop_front() else {
                // Only what is open is left: packed, it may fit.
                self.close();
                if self.closed_bytes > self.bytes_max {
                    continue;
                }
                return;
            };
            self.closed_bytes -= oldest.body.len();
            self.counts.overflowed += oldest.events;
        }
    }
}

fn compress(events: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut write = |bytes: &[u8]| {
        // Writing to memory does not fail.
        encoder.write_all(bytes).ok();
    };
    write(b"[");
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            write(b",");
        }
        write(event);
    }
    write(b"]");
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn unpacked(chunk: &Chunk) -> Vec<String> {
        let mut text = String::new();
        GzDecoder::new(&*chunk.body).read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn event(text: &str) -> Vec<u8> {
        serde_json::to_vec(text).unwrap()
    }

    /// Text that does not compress.
    fn noise(length: usize, seed: u64) -> String {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..length).map(|_| random.alphanumeric()).collect()
    }

    proptest! {
        #[test]
        fn every_event_is_sent_once_and_in_order_or_counted(
            lengths in proptest::collection::vec(0..400_usize, 0..60),
            chunk_max in 100..600_usize,
            bytes_max in 600..20_000_usize,
        ) {
            let mut chunks = Chunks::new(chunk_max, bytes_max);
            let texts: Vec<String> =
                (0..).zip(&lengths).map(|(n, length)| format!("{n}:{}", noise(*length, n))).collect();
            for text in &texts {
                chunks.push(event(text));
                prop_assert!(chunks.closed_bytes + chunks.open_bytes <= bytes_max);
            }
            let mut sent = Vec::new();
            while let Some(chunk) = chunks.take() {
                prop_assert!(chunk.body.len() <= chunk_max);
                let events = unpacked(&chunk);
                prop_assert_eq!(chunk.events, events.len() as u64);
                sent.extend(events);
            }
            let counts = chunks.counts();
            prop_assert_eq!(
                sent.len() as u64 + counts.overflowed + counts.too_large,
                texts.len() as u64
            );
            let mut rest = texts.iter();
            prop_assert!(sent.iter().all(|it| rest.any(|text| text == it)));
        }
    }

    #[test]
    fn what_could_not_be_sent_comes_first_again() {
        let mut chunks = Chunks::new(1024, 4096);
        chunks.push(event("one"));
        let chunk = chunks.take().unwrap();
        chunks.push(event("two"));
        chunks.put_back(chunk);
        assert_eq!(unpacked(&chunks.take().unwrap()), ["one"]);
        assert_eq!(unpacked(&chunks.take().unwrap()), ["two"]);
        assert!(chunks.take().is_none() && chunks.is_empty());
    }
}
