//! Pages of lists. Items stand in the order of their making; a token is the place of the last item of a page, so that
//! nothing is skipped or doubled by what comes and goes between two pages.

use crate::{limits, model::UnixNanos};
use umbra_api::v1;
use uuid::Uuid;

/// The place of an item in its list.
pub fn place(made: UnixNanos, id: Uuid) -> String {
    format!("{made:020}-{id}")
}

/// One page of `items`, and the token of the next; "" if there is none.
pub fn page<T>(items: impl Iterator<Item = (String, T)>, wish: Option<v1::PageRequest>) -> (Vec<T>, String) {
    let wish = wish.unwrap_or_default();
    let size = match wish.size as usize {
        0 => limits::PAGE,
        size => size.min(limits::PAGE),
    };
    let mut items: Vec<_> = items.filter(|(place, _)| *place > wish.token).collect();
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    let more = items.len() > size;
    items.truncate(size);
    let token = if more { items.last().map(|(place, _)| place.clone()) } else { None };
    (items.into_iter().map(|(_, item)| item).collect(), token.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gaps() {
        let all = || (0..7u128).map(|n| (place(10 - n as u64 / 3, Uuid::from_u128(n)), n));
        let mut token = String::new();
        let mut seen = Vec::new();
        loop {
            let (items, next) = page(all(), Some(v1::PageRequest { size: 3, token }));
            seen.extend(items);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, [6, 3, 4, 5, 0, 1, 2]);
    }
}
