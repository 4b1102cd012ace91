//@fragment access/load_4bit_affine
//@needs $NAME $NAME_FIRST_ROW $NAME_COLUMNS $NAME_Scale $NAME_scale_fetch Chunk $NAME_apply
//@needs $NAME_codes $NAME_UNIT $NAME_apply_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Weight rows of 4-bit codes with offsets, a multiple of 32 long, bound as array<vec4<u32>>; blocks of
// scales are a multiple of 32 columns wide.
struct $NAME_Word { codes: vec4<u32>, scale: $NAME_Scale }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let codes = $NAME[(row - $NAME_FIRST_ROW) * ($NAME_COLUMNS / 32u) + word];
  return $NAME_Word(codes, $NAME_scale_fetch(row, word * 32u));
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  return $NAME_apply($NAME_codes(word.codes[chunk]), word.scale * vec2($NAME_UNIT, 1.0));
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return $NAME_apply_dot($NAME_codes(word.codes[chunk]), word.scale * vec2($NAME_UNIT, 1.0), x);
}
