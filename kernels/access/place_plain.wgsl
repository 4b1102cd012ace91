//@fragment access/place_plain
//@needs $NAME_CHUNKS
//@gives $NAME_place
// Which chunk of a row a chunk of a word is: the chunks of a word follow each other.
fn $NAME_place(word: u32, chunk: u32) -> u32 {
  return word * $NAME_CHUNKS + chunk;
}
