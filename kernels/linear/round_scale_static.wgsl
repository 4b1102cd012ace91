//@fragment linear/round_scale_static
//@needs x_scale
//@gives scale_of
fn scale_of(peak: f32) -> f32 {
  return x_scale[0];
}
