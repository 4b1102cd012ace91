//@fragment attention/cache_rounding_e4m3
//@needs round_e4m3
//@gives cached
// What a number is after a way through the cache.
fn cached(value: f32) -> f32 {
  return round_e4m3(value, 1.0);
}
