//@fragment access/load_4bit_affine_interleaved
//@needs $NAME $NAME_FIRST_ROW $NAME_WORDS $NAME_Scales $NAME_scales_fetch $NAME_scales_at Chunk
//@needs $NAME_apply $NAME_codes $NAME_UNIT $NAME_apply_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Interleaved weight rows of 4-bit codes with offsets (order.ts), bound as array<vec4<u32>>: words of four
// chunks, each with a scale and an offset of its own.
struct $NAME_Word { codes: vec4<u32>, scales: $NAME_Scales }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let codes = $NAME[(row - $NAME_FIRST_ROW) * $NAME_WORDS + word];
  return $NAME_Word(codes, $NAME_scales_fetch(row, word));
}

fn $NAME_factors(word: $NAME_Word, chunk: u32) -> vec2<f32> {
  return $NAME_scales_at(word.scales, chunk) * vec2($NAME_UNIT, 1.0);
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  return $NAME_apply($NAME_codes(word.codes[chunk]), $NAME_factors(word, chunk));
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return $NAME_apply_dot($NAME_codes(word.codes[chunk]), $NAME_factors(word, chunk), x);
}
