//@fragment attention/norm_none
//@gives $NAME_norm_at $NAME_norm_quad
fn $NAME_norm_at(head: u32, d: u32) -> f32 {
  return 1.0;
}

fn $NAME_norm_quad(quad: u32) -> vec4<f32> {
  return vec4(1.0);
}
