//@fragment attention/cache_rounding_f32
//@gives cached
// What a number is after a way through the cache.
fn cached(value: f32) -> f32 {
  return value;
}
