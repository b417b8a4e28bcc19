//! Big-endian fields of parameter lists that came from outside.
//!
//! What always holds: nothing here panics. Callers have seen that the bytes are there; what is not reads as zero.

pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

/// `N` bytes from `at` on.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().unwrap_or([0; N])
}

/// Writes `value` into a page that has room for it.
pub(crate) fn put(page: &mut [u8], at: usize, value: &[u8]) {
    page[at..at + value.len()].copy_from_slice(value);
}

/// A list that begins with the 32-bit count of the bytes after it, cut to the allocation length. The count is that of
/// the whole list (SPC-4 section 4.3.5.6).
pub(crate) fn counted(mut list: Vec<u8>, allocation: usize) -> Vec<u8> {
    let following = (list.len() - 4) as u32;
    put(&mut list, 0, &following.to_be_bytes());
    list.truncate(allocation);
    list
}
