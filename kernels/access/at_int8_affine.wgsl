//@fragment access/at_int8_affine
//@needs $NAME_FIRST_ROW $NAME_COLUMNS $NAME $NAME_scale_fetch
//@gives $NAME_at
fn $NAME_at(row: u32, column: u32) -> f32 {
  let i = (row - $NAME_FIRST_ROW) * $NAME_COLUMNS + column;
  let word = $NAME[i >> 4u][(i >> 2u) & 3u];
  let code = f32(extractBits(bitcast<i32>(word), (i & 3u) * 8u, 8u));
  let scale = $NAME_scale_fetch(row, column);
  return code * scale.x + scale.y;
}
