//@fragment moe/algorithms/act_words_read
//@needs ACT_WORDS Chunk act
//@gives act_chunk
// Activated products in the order of act_words.wgsl, bound as array<vec4<f32>>.
fn act_chunk(pair: u32, chunk: u32) -> Chunk {
  let word = chunk / 4u;
  let at = (pair * ACT_WORDS + word / 32u * 32u) * 8u + (chunk % 4u) * 64u + word % 32u;
  return Chunk(act[at], act[at + 32u]);
}
