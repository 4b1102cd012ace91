//@fragment access/at_f32
//@needs $NAME_FIRST_ROW $NAME_COLUMNS $NAME
//@gives $NAME_at
fn $NAME_at(row: u32, column: u32) -> f32 {
  let i = (row - $NAME_FIRST_ROW) * $NAME_COLUMNS + column;
  return bitcast<f32>($NAME[i >> 2u][i & 3u]);
}
