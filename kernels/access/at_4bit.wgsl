//@fragment access/at_4bit
//@needs $NAME_FIRST_ROW $NAME_COLUMNS $NAME $NAME_codes $NAME_UNIT $NAME_scale_value $NAME_scale_fetch
//@gives $NAME_at
fn $NAME_at(row: u32, column: u32) -> f32 {
  let i = (row - $NAME_FIRST_ROW) * $NAME_COLUMNS + column;
  let nibble = ($NAME[i >> 5u][(i >> 3u) & 3u] >> ((i & 7u) * 4u)) & 15u;
  return $NAME_codes(nibble).lo.x * $NAME_UNIT * $NAME_scale_value($NAME_scale_fetch(row, column));
}
