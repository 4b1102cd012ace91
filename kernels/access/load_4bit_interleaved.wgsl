//@fragment access/load_4bit_interleaved
//@needs $NAME $NAME_FIRST_ROW $NAME_WORDS $NAME_Scales $NAME_scales_fetch $NAME_scales_at
//@needs $NAME_scale_value Chunk chunk_scale $NAME_codes $NAME_UNIT chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Interleaved weight rows of 4-bit codes (order.ts), bound as array<vec4<u32>>: words of four chunks, each
// with a scale of its own.
struct $NAME_Word { codes: vec4<u32>, scales: $NAME_Scales }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let codes = $NAME[(row - $NAME_FIRST_ROW) * $NAME_WORDS + word];
  return $NAME_Word(codes, $NAME_scales_fetch(row, word));
}

fn $NAME_factor(word: $NAME_Word, chunk: u32) -> f32 {
  return $NAME_scale_value($NAME_scales_at(word.scales, chunk));
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  // Two factors: an E8M0 scale times the unit may be infinite where the product is not.
  return chunk_scale(
    chunk_scale($NAME_codes(word.codes[chunk]), $NAME_UNIT), $NAME_factor(word, chunk),
  );
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot($NAME_codes(word.codes[chunk]), x) * $NAME_UNIT * $NAME_factor(word, chunk);
}
