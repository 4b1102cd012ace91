//@fragment access/scale_e8m0
//@needs $NAME_SCALE_COLUMNS $NAME_scale
//@gives $NAME_Scale $NAME_scale_fetch $NAME_scale_value
// Scale bytes of MXFP4, one for 32 columns of a row: 2^(byte - 127). A zero byte is 2^-127, which
// the bits of an f32 hold as a denormal; 255 is NaN.
struct $NAME_Scale { bytes: u32, shift: u32 }

fn $NAME_scale_fetch(row: u32, column: u32) -> $NAME_Scale {
  let at = row * $NAME_SCALE_COLUMNS + column / 32u;
  return $NAME_Scale($NAME_scale[at >> 2u], (at & 3u) * 8u);
}

fn $NAME_scale_value(scale: $NAME_Scale) -> f32 {
  let byte = (scale.bytes >> scale.shift) & 255u;
  let bits = select(byte << 23u, 0x00400000u, byte == 0u);
  return bitcast<f32>(select(bits, 0x7fc00000u, byte == 255u));
}
