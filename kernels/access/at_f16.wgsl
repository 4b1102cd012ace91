//@fragment access/at_f16
//@needs $NAME_FIRST_ROW $NAME_COLUMNS $NAME
//@gives $NAME_at
fn $NAME_at(row: u32, column: u32) -> f32 {
  let i = (row - $NAME_FIRST_ROW) * $NAME_COLUMNS + column;
  let pair = unpack2x16float($NAME[i >> 3u][(i >> 1u) & 3u]);
  return select(pair.x, pair.y, (i & 1u) == 1u);
}
