//@fragment attention/clip
//@needs CLIP
//@gives clipped
fn clipped(x: f32) -> f32 {
  return clamp(x, -CLIP, CLIP);
}
