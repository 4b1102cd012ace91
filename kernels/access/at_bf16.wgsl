//@fragment access/at_bf16
//@needs $NAME_FIRST_ROW $NAME_COLUMNS $NAME
//@gives $NAME_at
fn $NAME_at(row: u32, column: u32) -> f32 {
  let i = (row - $NAME_FIRST_ROW) * $NAME_COLUMNS + column;
  let pair = $NAME[i >> 3u][(i >> 1u) & 3u];
  return bitcast<f32>(select(pair << 16u, pair & 0xffff0000u, (i & 1u) == 1u));
}
