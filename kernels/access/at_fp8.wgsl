//@fragment access/at_fp8
//@needs $NAME_FIRST_ROW $NAME_COLUMNS $NAME $NAME_scale_value $NAME_scale_fetch
//@gives $NAME_at
fn $NAME_at(row: u32, column: u32) -> f32 {
  let i = (row - $NAME_FIRST_ROW) * $NAME_COLUMNS + column;
  let byte = ($NAME[i >> 4u][(i >> 2u) & 3u] >> ((i & 3u) * 8u)) & 255u;
  let half = ((byte & 0x7fu) << 7u) | ((byte & 0x80u) << 8u);
  let value = unpack2x16float(half).x * (256.0 * $NAME_scale_value($NAME_scale_fetch(row, column)));
  return bitcast<f32>(select(bitcast<u32>(value), 0x7fc00000u, (byte & 0x7fu) == 0x7fu));
}
