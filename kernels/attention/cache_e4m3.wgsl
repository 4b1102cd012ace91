//@fragment attention/cache_e4m3
//@needs $NAME $NAME_COLUMNS Chunk $NAME_Word
//@gives $NAME_store $NAME_pack $NAME_put
// Writing a cache of E4M3 codes, bound as array<vec2<u32>>; `load_cache_e4m3` reads it. Numbers
// beyond ±448 saturate.
fn $NAME_code(value: f32) -> u32 {
  let magnitude = min(abs(value), 448.0);
  // Codes are an eighth of a power of two apart, and below 2^-6 all 2^-9; round() goes to even. The
  // 16th step carries into the exponent.
  let exponent = max(bitcast<u32>(magnitude) >> 23u, 121u);
  let steps = u32(round(magnitude * bitcast<f32>((257u - exponent) << 23u)));
  return ((exponent - 121u) << 3u) + steps + ((bitcast<u32>(value) >> 24u) & 128u);
}

fn $NAME_codes_of(x: vec4<f32>) -> u32 {
  return $NAME_code(x.x) | ($NAME_code(x.y) << 8u) | ($NAME_code(x.z) << 16u)
    | ($NAME_code(x.w) << 24u);
}

fn $NAME_pack(value: Chunk) -> $NAME_Word {
  return vec2($NAME_codes_of(value.lo), $NAME_codes_of(value.hi));
}

fn $NAME_put(row: u32, chunk: u32, word: $NAME_Word) {
  $NAME[row * ($NAME_COLUMNS / 8u) + chunk] = word;
}

fn $NAME_store(row: u32, chunk: u32, value: Chunk) {
  $NAME_put(row, chunk, $NAME_pack(value));
}
