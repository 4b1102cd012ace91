//@fragment attention/mla/stretch_source
//@needs HEADS stretch_first stretch_rows first_place is_expanded
//@gives cache_row first_seen in_long_run span_of
// Keys and values of a stretch as attention in tiles of queries finds them: the row of a head behind
// that of another for each token.
fn cache_row(sequence: u32, position: u32, head: u32) -> u32 {
  return (first_place(sequence) + position - stretch_first()) * HEADS + head;
}

fn first_seen(position: u32) -> u32 {
  return 0u;
}

// Whether tiles of queries have a token, and not the absorbed form.
fn in_long_run(token: u32) -> bool {
  return is_expanded(token);
}

// The first and the last of a run's keys that are in the stretch; none where the first is behind it.
fn span_of(sequence: u32, first: u32, last: u32) -> vec2<u32> {
  let place = first_place(sequence);
  let end = stretch_first() + stretch_rows();
  if (place >= end) {
    return vec2(1u, 0u);
  }
  let begin = max(place, stretch_first()) - place;
  return vec2(max(first, begin), min(last, end - 1u - place));
}
