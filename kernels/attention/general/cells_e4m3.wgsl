//@fragment attention/general/cells_e4m3
//@needs $NAME
//@gives $NAME_cell
// Single numbers of a cache of E4M3 codes, bound as array<u32>.
//
// A code moved to the exponent and mantissa bits of an f16 is its value / 256, denormals included.
fn $NAME_cell(i: u32) -> f32 {
  let code = ($NAME[i / 4u] >> ((i & 3u) * 8u)) & 0xffu;
  return unpack2x16float(((code & 0x7fu) << 7u) | ((code & 0x80u) << 8u)).x * 256.0;
}
