//@fragment linear/round_scale_dynamic
//@needs quotient
//@gives scale_of
// A group of zeros has scale 1.
fn scale_of(peak: f32) -> f32 {
  return select(quotient(peak, 448.0), 1.0, peak == 0.0);
}
