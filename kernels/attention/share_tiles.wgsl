//@fragment attention/share_tiles
//@needs TILE FRESH FRESH_MAX SPLITS sequence_ids positions step_tokens first_seen
//@gives Span span_of
// How the context of one token is divided among workgroups, from the token's position alone.
//
// Context in the cache: positions first..end - 1, in `splits` shares of `share` positions. With
// FRESH, tokens of this very step are not in the cache yet, or must not be read from it: `end` is
// the smallest position that the step has of this sequence, and the last split takes the rest from
// the step itself. The positions that a step has of a sequence are consecutive.
struct Span { sequence: u32, position: u32, first: u32, end: u32, share: u32, splits: u32 }

// A context of up to two tiles is not shared out: handing over takes longer than the second tile.
const UNSHARED = 2u * TILE;

fn span_of(token: u32) -> Span {
  let sequence = sequence_ids[token];
  let position = u32(positions[token]);
  var end = position + select(1u, 0u, FRESH);
  let tokens = step_tokens(token);
  for (var i = 0u; FRESH && FRESH_MAX > 1u && i < tokens; i++) {
    if (sequence_ids[i] == sequence) {
      end = min(end, u32(positions[i]));
    }
  }
  let first = min(first_seen(position), end);
  let context = end - first;
  let even = (context + SPLITS - 1u) / SPLITS;
  let tiles = (even + TILE - 1u) / TILE * TILE;
  let share = max(select(TILE, UNSHARED, context <= UNSHARED), tiles);
  let splits = max(1u, (context + share - 1u) / share);
  return Span(u32(sequence), position, first, end, share, splits);
}
