//@fragment moe/algorithms/x_memory
//@needs Chunk x_chunk
//@gives x_stage x_near
// Rows of x straight from memory.
fn x_stage(token: u32, index: u32) {}

fn x_near(token: u32, chunk: u32) -> Chunk {
  return x_chunk(token, chunk);
}
