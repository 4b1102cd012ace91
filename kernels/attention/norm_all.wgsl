//@fragment attention/norm_all
//@needs D $NAME_norm
//@gives $NAME_norm_at $NAME_norm_quad
// Weights of a norm of all heads together; quads are counted from the start of the weights.
fn $NAME_norm_at(head: u32, d: u32) -> f32 {
  let at = head * D + d;
  return $NAME_norm[at / 4u][at % 4u];
}

fn $NAME_norm_quad(quad: u32) -> vec4<f32> {
  return $NAME_norm[quad];
}
