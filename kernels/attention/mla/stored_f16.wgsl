//@fragment attention/mla/stored_f16
//@gives stored_quad
// What f16 cannot hold becomes NaN, as in caches of f16.
fn stored_pair(x: vec2<f32>) -> u32 {
  let beyond = select(vec2(0u), vec2(0x7e00u, 0x7e000000u), abs(x) >= vec2(65520.0));
  return pack2x16float(x) | beyond.x | beyond.y;
}

fn stored_quad(x: vec4<f32>) -> vec2<u32> {
  return vec2(stored_pair(x.xy), stored_pair(x.zw));
}
