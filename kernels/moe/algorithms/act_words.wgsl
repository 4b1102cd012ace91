//@fragment moe/algorithms/act_words
//@needs ACT_WORDS
//@gives act_place
// Where an activated product lies when the next product reads it by words of 32: the vectors that 32
// neighbours need at the same time stand side by side (act_words_read.wgsl reads them).
fn act_place(pair: u32, i: u32) -> u32 {
  let word = i / 32u;
  let vector = (i % 32u) / 4u;
  return ((pair * ACT_WORDS + word / 32u * 32u) * 8u + vector * 32u + word % 32u) * 4u + i % 4u;
}
