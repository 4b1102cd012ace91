//@fragment attention/cache_f32
//@needs D $NAME Chunk
//@gives $NAME_store
// Writing a cache of f32, bound as array<vec4<u32>>; `load_f32` reads it.
fn $NAME_store(row: u32, chunk: u32, value: Chunk) {
  let at = row * (D / 4u) + chunk * 2u;
  $NAME[at] = bitcast<vec4<u32>>(value.lo);
  $NAME[at + 1u] = bitcast<vec4<u32>>(value.hi);
}
