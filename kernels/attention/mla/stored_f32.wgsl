//@fragment attention/mla/stored_f32
//@gives stored_quad
fn stored_quad(x: vec4<f32>) -> vec4<f32> {
  return x;
}
