//@fragment attention/cache_f32
//@needs $NAME $NAME_COLUMNS Chunk $NAME_Word
//@gives $NAME_store $NAME_pack $NAME_put
// Writing a cache of f32, bound as array<vec4<u32>>; `load_f32` reads it.
fn $NAME_pack(value: Chunk) -> $NAME_Word {
  return $NAME_Word(bitcast<vec4<u32>>(value.lo), bitcast<vec4<u32>>(value.hi));
}

fn $NAME_put(row: u32, chunk: u32, word: $NAME_Word) {
  let at = row * ($NAME_COLUMNS / 4u) + chunk * 2u;
  $NAME[at] = word.lo;
  $NAME[at + 1u] = word.hi;
}

fn $NAME_store(row: u32, chunk: u32, value: Chunk) {
  $NAME_put(row, chunk, $NAME_pack(value));
}
