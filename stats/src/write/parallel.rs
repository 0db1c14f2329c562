//! Putting long files together on all processors.

/// Makes pieces of a file out of `items`, so many at a time, and gives them to `sink` in order.
///
/// # Errors
/// What `sink` fails with.
pub(super) fn in_order<T: Sync, E>(
    items: &[T],
    at_a_time: usize,
    piece: impl Fn(&[T]) -> Vec<u8> + Sync,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if threads == 1 || items.len() <= at_a_time {
        return items
            .chunks(at_a_time)
            .try_for_each(|items| sink(&piece(items)));
    }
    let piece = &piece;
    for batch in items.chunks(at_a_time * threads) {
        std::thread::scope(|scope| {
            let pieces: Vec<_> = batch
                .chunks(at_a_time)
                .map(|items| scope.spawn(move || piece(items)))
                .collect();
            pieces.into_iter().try_for_each(|made| {
                sink(
                    &made
                        .join()
                        .expect("making a piece of a file does not panic"),
                )
            })
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::in_order;

    #[test]
    fn pieces_come_in_the_order_of_their_items() {
        let items: Vec<u32> = (0..1000).collect();
        for at_a_time in [1, 7, 333, 1000, 5000] {
            let mut text = Vec::new();
            let piece = |items: &[u32]| items.iter().flat_map(|n| n.to_le_bytes()).collect();
            let sink = |bytes: &[u8]| {
                text.extend_from_slice(bytes);
                Ok::<(), ()>(())
            };
            in_order(&items, at_a_time, piece, sink).unwrap();
            let expected: Vec<u8> = items.iter().flat_map(|n| n.to_le_bytes()).collect();
            assert_eq!(text, expected, "{at_a_time} at a time");
        }
        assert_eq!(
            in_order(&items, 10, |_| Vec::new(), |_| Err("full")),
            Err("full")
        );
    }
}
