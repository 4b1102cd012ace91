// What a number is after a way through the cache.
fn cached(value: f32) -> f32 {
  return unpack2x16float(pack2x16float(vec2(value, 0.0))).x;
}
