//@fragment access/chunk_fp8
//@needs $NAME $NAME_FIRST_ROW $NAME_COLUMNS $NAME_Scale $NAME_scale_fetch $NAME_scale_value Chunk
//@needs chunk_scale chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Weight rows of FP8 E4M3, a multiple of 8 long, bound as array<vec2<u32>>: a word is a chunk, so
// that neighbouring invocations read neighbouring vectors of x. Blocks of scales are a multiple of
// 8 columns wide; codes are those of load_fp8.wgsl.
struct $NAME_Word { codes: vec2<u32>, scale: $NAME_Scale }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let codes = $NAME[(row - $NAME_FIRST_ROW) * ($NAME_COLUMNS / 8u) + word];
  return $NAME_Word(codes, $NAME_scale_fetch(row, word * 8u));
}

// What the codes of a word are multiplied with.
fn $NAME_factor(word: $NAME_Word) -> f32 {
  let nan = ((word.codes & vec2(0x7f7f7f7fu)) + vec2(0x01010101u)) & vec2(0x80808080u);
  let scale = bitcast<u32>($NAME_scale_value(word.scale) * 256.0);
  return bitcast<f32>(select(scale, 0x7fc00000u, (nan.x | nan.y) != 0u));
}

fn $NAME_codes(word: u32) -> vec4<f32> {
  let a = unpack2x16float(((word << 7u) & 0x3f803f80u) | ((word << 8u) & 0x80008000u));
  let b = unpack2x16float(((word >> 1u) & 0x3f803f80u) | (word & 0x80008000u));
  return vec4(a.x, b.x, a.y, b.y);
}

fn $NAME_unpack(word: $NAME_Word, part: u32) -> Chunk {
  return chunk_scale(Chunk($NAME_codes(word.codes.x), $NAME_codes(word.codes.y)), $NAME_factor(word));
}

fn $NAME_dot(word: $NAME_Word, part: u32, x: Chunk) -> f32 {
  return chunk_dot(Chunk($NAME_codes(word.codes.x), $NAME_codes(word.codes.y)), x) *
    $NAME_factor(word);
}
