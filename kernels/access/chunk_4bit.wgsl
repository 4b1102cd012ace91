//@fragment access/chunk_4bit
//@needs $NAME $NAME_FIRST_ROW $NAME_COLUMNS $NAME_Scale $NAME_scale_fetch $NAME_scale_value $NAME_codes
//@needs $NAME_UNIT Chunk chunk_scale chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Weight rows of 4-bit codes, a multiple of 8 long, bound as array<u32>: a word is a chunk, so that
// neighbouring invocations read neighbouring vectors of x. Blocks of scales are a multiple of 8
// columns wide.
struct $NAME_Word { codes: u32, scale: $NAME_Scale }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let codes = $NAME[(row - $NAME_FIRST_ROW) * ($NAME_COLUMNS / 8u) + word];
  return $NAME_Word(codes, $NAME_scale_fetch(row, word * 8u));
}

fn $NAME_unpack(word: $NAME_Word, part: u32) -> Chunk {
  // Two factors: an E8M0 scale times the unit may be infinite where the product is not.
  return chunk_scale(chunk_scale($NAME_codes(word.codes), $NAME_UNIT), $NAME_scale_value(word.scale));
}

fn $NAME_dot(word: $NAME_Word, part: u32, x: Chunk) -> f32 {
  return chunk_dot($NAME_codes(word.codes), x) * $NAME_UNIT * $NAME_scale_value(word.scale);
}
