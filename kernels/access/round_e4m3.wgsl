//@fragment access/round_e4m3
//@gives quotient round_e4m3
// What a number is after a way through E4M3 with a scale: E4M3(clamp(x / scale, ±448)) · scale, to
// nearest, ties to even.
//
// WebGPU's division may be off in the last bits, which decide ties: one Newton step makes it exact
// where fma is fused. The bounds keep infinities out of that step.
fn quotient(x: f32, scale: f32) -> f32 {
  let near = clamp(x / scale, -1e4, 1e4);
  return fma(fma(-near, scale, x), 1.0 / scale, near);
}

// Codes are an eighth of a power of two apart, and below 2^-6 all 2^-9; round() goes to even.
fn round_e4m3(x: f32, scale: f32) -> f32 {
  let magnitude = min(abs(quotient(x, scale)), 448.0);
  let exponent = max(bitcast<u32>(magnitude) >> 23u, 121u);
  let steps = round(magnitude * bitcast<f32>((257u - exponent) << 23u));
  return sign(x) * steps * bitcast<f32>((exponent - 3u) << 23u) * scale;
}
