//! Several buffers written or sent as one: a gather list.
//!
//! What always holds: at most [`MAX_PARTS`] parts; a list of one part needs no memory of its own, and a longer one
//! keeps its memory when it is emptied, so that a list that is used again allocates nothing.

use crate::buf::Buf;

/// Parts of one gather list. Enough for the replies to 32 commands, header and data each; far below the kernel's 1024.
pub const MAX_PARTS: usize = 64;

/// Buffers whose filled bytes follow each other.
#[derive(Debug, Default)]
pub struct Parts {
    first: Option<Buf>,
    rest: Vec<Buf>,
}

impl Parts {
    /// An empty list with memory for all the parts that a list may have.
    pub fn with_capacity() -> Parts {
        Parts { first: None, rest: Vec::with_capacity(MAX_PARTS - 1) }
    }

    /// Appends a part; given back if the list is full.
    pub fn push(&mut self, part: Buf) -> Result<(), Buf> {
        match self.first {
            None => self.first = Some(part),
            Some(_) if self.count() == MAX_PARTS => return Err(part),
            Some(_) => self.rest.push(part),
        }
        Ok(())
    }

    /// How many parts there are.
    pub fn count(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// Filled bytes of all parts.
    pub fn bytes(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }

    /// The filled bytes of each part.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.first.iter().chain(&self.rest).map(|part| &**part)
    }

    /// The same without the first `skip` bytes; nothing empty.
    pub fn slices_from(&self, mut skip: usize) -> impl Iterator<Item = &[u8]> {
        self.slices().filter_map(move |slice| {
            let skipped = skip.min(slice.len());
            skip -= skipped;
            (skipped < slice.len()).then(|| &slice[skipped..])
        })
    }

    /// Takes all parts out, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Buf> {
        self.first.take().into_iter().chain(self.rest.drain(..))
    }
}

impl From<Buf> for Parts {
    fn from(part: Buf) -> Parts {
        Parts { first: Some(part), rest: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bufpool::BufPool;

    fn list(texts: &[&str]) -> Parts {
        let mut pool = BufPool::new(1 << 20);
        let mut parts = Parts::default();
        for text in texts {
            let mut part = pool.take(16).unwrap();
            part.append(text.as_bytes());
            parts.push(part).unwrap();
        }
        parts
    }

    #[test]
    fn what_is_left_after_a_short_write_begins_at_its_byte() {
        let parts = list(&["abc", "", "de", "f"]);
        let left = |skip| String::from_utf8(parts.slices_from(skip).collect::<Vec<_>>().concat()).unwrap();
        assert_eq!(parts.bytes(), 6);
        assert_eq!([left(0), left(2), left(3), left(5), left(6)], ["abcdef", "cdef", "def", "f", ""]);
        assert!(parts.slices_from(0).all(|slice| !slice.is_empty()));
    }

    #[test]
    fn a_list_is_bounded_and_drains_in_order() {
        let mut parts = list(&["x"; MAX_PARTS]);
        let one_more = list(&["y"]).drain().next().unwrap();
        assert_eq!(&parts.push(one_more).unwrap_err()[..], b"y");
        assert_eq!(parts.drain().count(), MAX_PARTS);
        assert_eq!(parts.count(), 0);
        assert_eq!(list(&["a", "b"]).drain().map(|part| part[0]).collect::<Vec<_>>(), b"ab");
    }
}
