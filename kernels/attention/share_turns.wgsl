//@fragment attention/share_turns
//@needs FRESH FRESH_MAX SPLITS LEAST_SHARE TURN sequence_ids positions first_seen
//@gives Span span_of
// How the context of one token is divided among workgroups, from the token's position alone.
//
// Context in the cache: positions first..end - 1, in `splits` shares of `share` positions. With
// FRESH the step's own tokens are not in the cache yet, or must not be read from it: `end` is the
// smallest position that the step has of this sequence, and the last split takes the rest, the
// `run` tokens that end with this one, from the step itself. Tokens of a sequence stand side by
// side in a step, with consecutive positions. A workgroup takes TURN positions at a time, and
// LEAST_SHARE at least.
struct Span {
  sequence: u32, position: u32, first: u32, end: u32, share: u32, splits: u32, run: u32,
}

fn span_of(token: u32) -> Span {
  let sequence = sequence_ids[token];
  let position = u32(positions[token]);
  var run = select(0u, 1u, FRESH);
  for (var back = 1u; FRESH && back < FRESH_MAX && back <= token; back++) {
    if (sequence_ids[token - back] != sequence) {
      break;
    }
    run++;
  }
  let end = position + 1u - run;
  let seen = first_seen(position);
  let first = min(seen, end);
  let even = (end - first + SPLITS - 1u) / SPLITS;
  let share = max(LEAST_SHARE, (even + TURN - 1u) / TURN * TURN);
  let splits = max(1u, (end - first + share - 1u) / share);
  return Span(u32(sequence), position, first, end, share, splits, min(run, position + 1u - seen));
}
