//@fragment attention/clip_none
//@gives clipped
fn clipped(x: f32) -> f32 {
  return x;
}
