//@fragment attention/general/cells_f16
//@needs $NAME
//@gives $NAME_cell
// Single numbers of a cache of f16, bound as array<u32>.
fn $NAME_cell(i: u32) -> f32 {
  let pair = unpack2x16float($NAME[i / 2u]);
  return select(pair.x, pair.y, (i & 1u) == 1u);
}
