//@fragment access/load_fp8_interleaved
//@needs $NAME $NAME_FIRST_ROW $NAME_WORDS $NAME_Scales $NAME_scales_fetch $NAME_scales_at
//@needs $NAME_scale_value Chunk chunk_scale chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Interleaved weight rows of FP8 E4M3 (order.ts), bound as array<vec4<u32>>: words of two chunks, each with
// a scale of its own; codes are those of load_fp8.wgsl.
struct $NAME_Word { codes: vec4<u32>, scales: $NAME_Scales }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let codes = $NAME[(row - $NAME_FIRST_ROW) * $NAME_WORDS + word];
  return $NAME_Word(codes, $NAME_scales_fetch(row, word));
}

fn $NAME_pair(word: $NAME_Word, chunk: u32) -> vec2<u32> {
  return select(word.codes.zw, word.codes.xy, chunk == 0u);
}

// What the codes of a chunk are multiplied with.
fn $NAME_factor(word: $NAME_Word, chunk: u32) -> f32 {
  let nan = (($NAME_pair(word, chunk) & vec2(0x7f7f7f7fu)) + vec2(0x01010101u)) & vec2(0x80808080u);
  let scale = bitcast<u32>($NAME_scale_value($NAME_scales_at(word.scales, chunk)) * 256.0);
  return bitcast<f32>(select(scale, 0x7fc00000u, (nan.x | nan.y) != 0u));
}

fn $NAME_codes(word: u32) -> vec4<f32> {
  let a = unpack2x16float(((word << 7u) & 0x3f803f80u) | ((word << 8u) & 0x80008000u));
  let b = unpack2x16float(((word >> 1u) & 0x3f803f80u) | (word & 0x80008000u));
  return vec4(a.x, b.x, a.y, b.y);
}

fn $NAME_raw(word: $NAME_Word, chunk: u32) -> Chunk {
  let pair = $NAME_pair(word, chunk);
  return Chunk($NAME_codes(pair.x), $NAME_codes(pair.y));
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  return chunk_scale($NAME_raw(word, chunk), $NAME_factor(word, chunk));
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot($NAME_raw(word, chunk), x) * $NAME_factor(word, chunk);
}
