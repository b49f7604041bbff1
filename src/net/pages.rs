//! Where in a page of memory a buffer begins that a worker lends to its connections.
//!
//! The TLS library copies what it seals, first to five bytes behind the beginning of a page, and
//! from the beginning of that page to where we want it. Large buffers begin where pages do. Some
//! processors of AMD copy thirty times slower if a target lies a little further in its page than its
//! source does in another (glibc bug 30994). So our buffers are used from the middle of a page on.

/// Of memory.
const PAGE: usize = 4096;

/// Of a TLS record: what the library leaves room for.
const HEADER: usize = 5;
/// So little ahead, it is still noticed.
const NEAR: usize = 64;

/// What to ask for beyond what is used of a buffer.
pub const PAGE_LOST: usize = PAGE;

/// How far into this buffer the first middle of a page is: less than [`PAGE_LOST`].
pub fn middle_of_page(buffer: &[u8]) -> usize {
    (PAGE + PAGE / 2 - buffer.as_ptr().addr() % PAGE) % PAGE
}

/// As many bytes of a buffer as asked for, which begin there.
pub fn from_middle_of_page(buffer: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if buffer.len() < bytes + PAGE_LOST {
        buffer.resize(bytes + PAGE_LOST, 0);
    }
    let from = middle_of_page(buffer);
    buffer.get_mut(from..from + bytes).unwrap_or_default()
}

/// Whether what begins where these bytes do is copied slowly by the TLS library.
pub fn is_slow_to_seal(bytes: &[u8]) -> bool {
    let place = bytes.as_ptr().addr() % PAGE;
    !(HEADER..=PAGE - NEAR).contains(&place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_as_much_room_as_asked_for_and_it_begins_in_the_middle_of_a_page() {
        let mut buffer = Vec::new();
        for bytes in [1, 128 * 1024, 5, 200 * 1024 + 7] {
            let room = from_middle_of_page(&mut buffer, bytes);
            assert_eq!(room.len(), bytes);
            assert_eq!(room.as_ptr().addr() % PAGE, PAGE / 2);
        }
    }
}
