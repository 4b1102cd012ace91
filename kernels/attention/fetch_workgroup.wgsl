//@fragment attention/fetch_workgroup
//@needs LANES_K LANES_V GROUPS WORDS_K ROUNDS_V keys_Word values_Word cache_row keys_fetch
//@needs values_fetch
//@gives Fetched fetch_tile
// How keys and values of a tile of the context come from the cache to the invocations.

// Words of a tile that one invocation reads.
struct Fetched {
  //@repeat w WORDS_K
  key_$w: keys_Word,
  //@end
  //@repeat u ROUNDS_V
  value_$u: values_Word,
  //@end
}

// Asks for the tile from `base` on, all pages first.
fn fetch_tile(sequence: u32, base: u32, end: u32, kv_head: u32, index: u32) -> Fetched {
  let key_row = cache_row(sequence, min(base + index / LANES_K, end - 1u), kv_head);
  //@repeat u ROUNDS_V
  let value_row_$u = cache_row(
    sequence,
    min(base + index / LANES_V + $u * GROUPS, end - 1u),
    kv_head,
  );
  //@end
  var fetched: Fetched;
  //@repeat w WORDS_K
  fetched.key_$w = keys_fetch(key_row, min(index % LANES_K + $w * LANES_K, LANES_V - 1u));
  //@end
  //@repeat u ROUNDS_V
  fetched.value_$u = values_fetch(value_row_$u, index % LANES_V);
  //@end
  return fetched;
}
