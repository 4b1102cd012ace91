//@fragment access/rows_vec4
//@needs $NAME_COLUMNS $NAME Chunk
//@gives $NAME_chunk
// Rows of f32 activations, a multiple of 8 long, bound as array<vec4<f32>>.
fn $NAME_chunk(row: u32, chunk: u32) -> Chunk {
  let at = row * ($NAME_COLUMNS / 4u) + chunk * 2u;
  return Chunk($NAME[at], $NAME[at + 1u]);
}
