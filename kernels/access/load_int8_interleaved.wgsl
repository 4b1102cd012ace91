//@fragment access/load_int8_interleaved
//@needs $NAME $NAME_FIRST_ROW $NAME_WORDS $NAME_Scales $NAME_scales_fetch $NAME_scales_at
//@needs $NAME_scale_value Chunk chunk_scale chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Interleaved weight rows of int8 (order.ts), bound as array<vec4<u32>>: words of two chunks, each with a
// scale of its own.
struct $NAME_Word { codes: vec4<u32>, scales: $NAME_Scales }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let codes = $NAME[(row - $NAME_FIRST_ROW) * $NAME_WORDS + word];
  return $NAME_Word(codes, $NAME_scales_fetch(row, word));
}

fn $NAME_raw(word: $NAME_Word, chunk: u32) -> Chunk {
  let pair = select(word.codes.zw, word.codes.xy, chunk == 0u);
  return Chunk(vec4<f32>(unpack4xI8(pair.x)), vec4<f32>(unpack4xI8(pair.y)));
}

fn $NAME_factor(word: $NAME_Word, chunk: u32) -> f32 {
  return $NAME_scale_value($NAME_scales_at(word.scales, chunk));
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  return chunk_scale($NAME_raw(word, chunk), $NAME_factor(word, chunk));
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot($NAME_raw(word, chunk), x) * $NAME_factor(word, chunk);
}
