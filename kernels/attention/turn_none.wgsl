//@fragment attention/turn_none
//@needs Chunk Invocation
//@gives turned
fn turned(x: Chunk, lane: u32, invocation: Invocation) -> Chunk {
  return x;
}
