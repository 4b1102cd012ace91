//@fragment attention/general/cells_e4m3_store
//@needs $NAME
//@gives $NAME_store
// Numbers beyond ±448 saturate. Codes are an eighth of a power of two apart, and below 2^-6 all 2^-9;
// round() goes to even. The 16th step carries into the exponent.
fn $NAME_code(value: f32) -> u32 {
  let magnitude = min(abs(value), 448.0);
  let exponent = max(bitcast<u32>(magnitude) >> 23u, 121u);
  let steps = u32(round(magnitude * bitcast<f32>((257u - exponent) << 23u)));
  return ((exponent - 121u) << 3u) + steps + ((bitcast<u32>(value) >> 24u) & 128u);
}

fn $NAME_store(word: u32, numbers: vec4<f32>) {
  $NAME[word] = $NAME_code(numbers.x) | ($NAME_code(numbers.y) << 8u) |
    ($NAME_code(numbers.z) << 16u) | ($NAME_code(numbers.w) << 24u);
}
