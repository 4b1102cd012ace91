//@fragment access/load_4bit
//@needs $NAME $NAME_FIRST_ROW $NAME_COLUMNS $NAME_WORD_SCALES $NAME_Scale $NAME_scale_fetch
//@needs $NAME_scale_value Chunk chunk_scale $NAME_codes $NAME_UNIT chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Weight rows of 4-bit codes, a multiple of 32 long, bound as array<vec4<u32>>. A word of 32
// elements has $NAME_WORD_SCALES scales (1 or 2); blocks are at least that wide.
struct $NAME_Word { codes: vec4<u32>, first: $NAME_Scale, second: $NAME_Scale }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let codes = $NAME[(row - $NAME_FIRST_ROW) * ($NAME_COLUMNS / 32u) + word];
  let first = $NAME_scale_fetch(row, word * 32u);
  var second = first;
  if ($NAME_WORD_SCALES == 2u) {
    second = $NAME_scale_fetch(row, word * 32u + 16u);
  }
  return $NAME_Word(codes, first, second);
}

fn $NAME_factor(word: $NAME_Word, chunk: u32) -> f32 {
  if ($NAME_WORD_SCALES == 2u && chunk >= 2u) {
    return $NAME_scale_value(word.second);
  }
  return $NAME_scale_value(word.first);
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  // Two factors: an E8M0 scale times the unit may be infinite where the product is not.
  return chunk_scale(chunk_scale($NAME_codes(word.codes[chunk]), $NAME_UNIT), $NAME_factor(word, chunk));
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot($NAME_codes(word.codes[chunk]), x) * $NAME_UNIT * $NAME_factor(word, chunk);
}
