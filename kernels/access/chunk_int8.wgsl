//@fragment access/chunk_int8
//@needs $NAME $NAME_FIRST_ROW $NAME_COLUMNS $NAME_Scale $NAME_scale_fetch Chunk chunk_scale
//@needs $NAME_scale_value chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Weight rows of int8, a multiple of 8 long, bound as array<vec2<u32>>: a word is a chunk, so that
// neighbouring invocations read neighbouring vectors of x. Blocks of scales are a multiple of 8
// columns wide.
struct $NAME_Word { codes: vec2<u32>, scale: $NAME_Scale }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let codes = $NAME[(row - $NAME_FIRST_ROW) * ($NAME_COLUMNS / 8u) + word];
  return $NAME_Word(codes, $NAME_scale_fetch(row, word * 8u));
}

fn $NAME_raw(word: $NAME_Word) -> Chunk {
  return Chunk(vec4<f32>(unpack4xI8(word.codes.x)), vec4<f32>(unpack4xI8(word.codes.y)));
}

fn $NAME_unpack(word: $NAME_Word, part: u32) -> Chunk {
  return chunk_scale($NAME_raw(word), $NAME_scale_value(word.scale));
}

fn $NAME_dot(word: $NAME_Word, part: u32, x: Chunk) -> f32 {
  return chunk_dot($NAME_raw(word), x) * $NAME_scale_value(word.scale);
}
