//@fragment access/absent_norm
//@needs Chunk
//@gives norm_chunk
// No norm in front.
fn norm_chunk(row: u32, chunk: u32) -> Chunk {
  return Chunk(vec4(1.0), vec4(1.0));
}
