//@fragment access/load_f16
//@needs $NAME $NAME_FIRST_ROW $NAME_COLUMNS Chunk chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Weight rows of f16, a multiple of 8 long, bound as array<vec4<u32>>. Needs no shader-f16.
alias $NAME_Word = vec4<u32>;

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  return $NAME[(row - $NAME_FIRST_ROW) * ($NAME_COLUMNS / 8u) + word];
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  return Chunk(
    vec4(unpack2x16float(word.x), unpack2x16float(word.y)),
    vec4(unpack2x16float(word.z), unpack2x16float(word.w)),
  );
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot($NAME_unpack(word, chunk), x);
}
