//@fragment linear/chunk_round_none
//@needs Chunk
//@gives $NAME_round
// Activations are multiplied as they are.
fn $NAME_round(value: Chunk, expert: u32) -> Chunk {
  return value;
}
