//@fragment attention/fetch_workgroup
//@needs keys_Word values_Word cache_row PARTS_K LANES_V GROUPS keys_fetch values_fetch WORDS_K
//@needs ROUNDS_V
//@gives Fetched fetch_tile
// How keys and values of a tile of the context come from the cache to the threads.

// Words of a tile that one thread reads.
struct Fetched {
  //@repeat w WORDS_K
  key_$w: keys_Word,
  //@end
  //@repeat u ROUNDS_V
  value_$u: values_Word,
  //@end
}

// Asks for the tile from `base` on, all pages first.
fn fetch_tile(sequence: u32, base: u32, end: u32, kv_head: u32, thread: u32) -> Fetched {
  let key_row = cache_row(sequence, min(base + thread / PARTS_K, end - 1u), kv_head);
  //@repeat u ROUNDS_V
  let value_row_$u = cache_row(
    sequence,
    min(base + thread / LANES_V + $u * GROUPS, end - 1u),
    kv_head,
  );
  //@end
  var fetched: Fetched;
  //@repeat w WORDS_K
  fetched.key_$w = keys_fetch(key_row, min(thread % PARTS_K + $w * PARTS_K, LANES_V - 1u));
  //@end
  //@repeat u ROUNDS_V
  fetched.value_$u = values_fetch(value_row_$u, thread % LANES_V);
  //@end
  return fetched;
}
