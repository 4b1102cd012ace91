//@fragment attention/norm_head
//@needs $NAME_norm
//@gives $NAME_norm_at $NAME_norm_quad
// Weights of a norm of one head, which all heads share; quads are counted from the start of the weights.
fn $NAME_norm_at(head: u32, d: u32) -> f32 {
  return $NAME_norm[d / 4u][d % 4u];
}

fn $NAME_norm_quad(quad: u32) -> vec4<f32> {
  return $NAME_norm[quad];
}
