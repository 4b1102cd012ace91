// Scale bytes of MXFP4, one for 32 columns of a row: 2^(byte - 127). A zero byte is 2^-127, which
// the bits of an f32 hold as a denormal; 255 is NaN.
fn $NAME_scale_of(row: u32, column: u32) -> f32 {
  let at = row * $NAME_SCALE_COLUMNS + column / 32u;
  let byte = ($NAME_scale[at >> 2u] >> ((at & 3u) * 8u)) & 255u;
  let bits = select(byte << 23u, 0x00400000u, byte == 0u);
  return bitcast<f32>(select(bits, 0x7fc00000u, byte == 255u));
}
