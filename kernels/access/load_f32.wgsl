//@fragment access/load_f32
//@needs $NAME_FIRST_ROW $NAME_COLUMNS $NAME Chunk chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Weight rows of f32, a multiple of 8 long, bound as array<vec4<u32>>.
// A word is what one lane loads at a time; it holds $NAME_CHUNKS chunks.
struct $NAME_Word { lo: vec4<u32>, hi: vec4<u32> }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let at = (row - $NAME_FIRST_ROW) * ($NAME_COLUMNS / 4u) + word * 2u;
  return $NAME_Word($NAME[at], $NAME[at + 1u]);
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  return Chunk(bitcast<vec4<f32>>(word.lo), bitcast<vec4<f32>>(word.hi));
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot($NAME_unpack(word, chunk), x);
}
