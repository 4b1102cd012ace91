//@fragment attention/cache_f16
//@needs $NAME $NAME_COLUMNS Chunk $NAME_Word
//@gives $NAME_store $NAME_pack $NAME_put
// Writing a cache of f16, bound as array<vec4<u32>>; `load_f16` reads it. What f16 cannot hold
// becomes NaN by its bits: WGSL leaves open what pack2x16float makes of it, and an infinite key
// could go unseen.
fn $NAME_pair(x: vec2<f32>) -> u32 {
  let beyond = select(vec2(0u), vec2(0x7e00u, 0x7e000000u), abs(x) >= vec2(65520.0));
  return pack2x16float(x) | beyond.x | beyond.y;
}

fn $NAME_pack(value: Chunk) -> $NAME_Word {
  return vec4(
    $NAME_pair(value.lo.xy),
    $NAME_pair(value.lo.zw),
    $NAME_pair(value.hi.xy),
    $NAME_pair(value.hi.zw),
  );
}

fn $NAME_put(row: u32, chunk: u32, word: $NAME_Word) {
  $NAME[row * ($NAME_COLUMNS / 8u) + chunk] = word;
}

fn $NAME_store(row: u32, chunk: u32, value: Chunk) {
  $NAME_put(row, chunk, $NAME_pack(value));
}
