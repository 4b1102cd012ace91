//@fragment access/load_fp8
//@needs $NAME $NAME_FIRST_ROW $NAME_COLUMNS $NAME_Scale $NAME_scale_fetch $NAME_scale_value Chunk
//@needs chunk_scale chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Weight rows of FP8 E4M3, a multiple of 16 long, bound as array<vec4<u32>>; blocks of scales are a
// multiple of 16 columns wide.
//
// An E4M3 code moved to the exponent and mantissa bits of an f16 is its value / 256, denormals
// included. The two NaN codes would read as ±480: they turn the scale of their 16 elements into
// NaN, and with it every dot product they are in, as they must.
struct $NAME_Word { codes: vec4<u32>, scale: $NAME_Scale }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let codes = $NAME[(row - $NAME_FIRST_ROW) * ($NAME_COLUMNS / 16u) + word];
  return $NAME_Word(codes, $NAME_scale_fetch(row, word * 16u));
}

// What the codes of a word are multiplied with.
fn $NAME_factor(word: $NAME_Word) -> f32 {
  let nan = ((word.codes & vec4(0x7f7f7f7fu)) + vec4(0x01010101u)) & vec4(0x80808080u);
  let any_nan = (nan.x | nan.y | nan.z | nan.w) != 0u;
  let scale = bitcast<u32>($NAME_scale_value(word.scale) * 256.0);
  return bitcast<f32>(select(scale, 0x7fc00000u, any_nan));
}

fn $NAME_codes(word: u32) -> vec4<f32> {
  let a = unpack2x16float(((word << 7u) & 0x3f803f80u) | ((word << 8u) & 0x80008000u));
  let b = unpack2x16float(((word >> 1u) & 0x3f803f80u) | (word & 0x80008000u));
  return vec4(a.x, b.x, a.y, b.y);
}

fn $NAME_raw(word: $NAME_Word, chunk: u32) -> Chunk {
  let pair = select(word.codes.zw, word.codes.xy, chunk == 0u);
  return Chunk($NAME_codes(pair.x), $NAME_codes(pair.y));
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  return chunk_scale($NAME_raw(word, chunk), $NAME_factor(word));
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot($NAME_raw(word, chunk), x) * $NAME_factor(word);
}
