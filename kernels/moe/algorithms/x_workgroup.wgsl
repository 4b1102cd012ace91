//@fragment moe/algorithms/x_workgroup
//@needs HIDDEN INVOCATIONS x Chunk
//@gives x_stage x_near
// A row of x in workgroup memory. Neighbours who read 16 bytes of 4-bit codes need vectors of x that
// are 128 bytes apart: in memory 32 lines for one load, here different banks, as there is a vector of
// padding after each eight.
var<workgroup> x_row: array<vec4<f32>, HIDDEN / 4u + HIDDEN / 32u>;

fn x_stage(token: u32, index: u32) {
  for (var quad = index; quad < HIDDEN / 4u; quad += INVOCATIONS) {
    x_row[quad + quad / 8u] = x[token * (HIDDEN / 4u) + quad];
  }
  workgroupBarrier();
}

fn x_near(token: u32, chunk: u32) -> Chunk {
  let at = chunk * 2u + chunk / 4u;
  return Chunk(x_row[at], x_row[at + 1u]);
}
