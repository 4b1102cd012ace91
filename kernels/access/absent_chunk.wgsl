//@fragment access/absent_chunk
//@needs Chunk
//@gives $NAME_chunk
fn $NAME_chunk(row: u32, chunk: u32) -> Chunk {
  return Chunk(vec4($VALUE), vec4($VALUE));
}
