//@fragment attention/fetch_lanes
//@needs GROUPS LANES D UNROLL CHUNKS keys_Word values_Word cache_row keys_fetch values_fetch
//@gives Fetched fetch_turn
// How keys and values of a turn come from the cache to the lanes of decode_lanes.wgsl.

struct Fetched {
  //@repeat u UNROLL
  //@repeat c CHUNKS
  key_$u_$c: keys_Word,
  value_$u_$c: values_Word,
  //@end
  //@end
}

// Asks for the positions at, at + GROUPS, … that a group of lanes takes, all pages first.
fn fetch_turn(sequence: u32, at: u32, end: u32, kv_head: u32, lane: u32) -> Fetched {
  //@repeat u UNROLL
  let row_$u = cache_row(sequence, min(at + $u * GROUPS, end - 1u), kv_head);
  //@end
  var fetched: Fetched;
  //@repeat u UNROLL
  //@repeat c CHUNKS
  fetched.key_$u_$c = keys_fetch(row_$u, min(lane + $c * LANES, D / 8u - 1u));
  //@end
  //@end
  //@repeat u UNROLL
  //@repeat c CHUNKS
  fetched.value_$u_$c = values_fetch(row_$u, min(lane + $c * LANES, D / 8u - 1u));
  //@end
  //@end
  return fetched;
}
