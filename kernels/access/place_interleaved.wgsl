//@fragment access/place_interleaved
//@needs $NAME_CHUNKS $NAME_WORDS $NAME_INTERLEAVED
//@gives $NAME_place
// Which chunk of a row a chunk of a word is: the chunks of the first $NAME_INTERLEAVED words lie as many
// chunks apart, those of the few that are left follow each other (order.ts).
fn $NAME_place(word: u32, chunk: u32) -> u32 {
  let apart = chunk * $NAME_INTERLEAVED + word;
  if ($NAME_INTERLEAVED == $NAME_WORDS) {
    return apart;
  }
  return select(word * $NAME_CHUNKS + chunk, apart, word < $NAME_INTERLEAVED);
}
