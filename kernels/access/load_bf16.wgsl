//@fragment access/load_bf16
//@needs $NAME $NAME_FIRST_ROW $NAME_COLUMNS Chunk chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Weight rows of bf16, a multiple of 8 long, bound as array<vec4<u32>>.
alias $NAME_Word = vec4<u32>;

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  return $NAME[(row - $NAME_FIRST_ROW) * ($NAME_COLUMNS / 8u) + word];
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  let even = bitcast<vec4<f32>>(word << vec4(16u));
  let odd = bitcast<vec4<f32>>(word & vec4(0xffff0000u));
  return Chunk(vec4(even.x, odd.x, even.y, odd.y), vec4(even.z, odd.z, even.w, odd.w));
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot($NAME_unpack(word, chunk), x);
}
