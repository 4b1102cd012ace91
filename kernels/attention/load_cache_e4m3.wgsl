//@fragment attention/load_cache_e4m3
//@needs $NAME $NAME_COLUMNS Chunk
//@gives $NAME_Word $NAME_fetch $NAME_unpack
// Rows of a cache of E4M3 codes, a multiple of 8 long, bound as array<vec2<u32>>.
//
// A code moved to the exponent and mantissa bits of an f16 is its value / 256, denormals included.
alias $NAME_Word = vec2<u32>;

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  return $NAME[row * ($NAME_COLUMNS / 8u) + word];
}

fn $NAME_values(word: u32) -> vec4<f32> {
  let a = unpack2x16float(((word << 7u) & 0x3f803f80u) | ((word << 8u) & 0x80008000u));
  let b = unpack2x16float(((word >> 1u) & 0x3f803f80u) | (word & 0x80008000u));
  return vec4(a.x, b.x, a.y, b.y) * 256.0;
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  return Chunk($NAME_values(word.x), $NAME_values(word.y));
}
