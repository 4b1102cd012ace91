//@fragment attention/general/cells_f32
//@needs $NAME
//@gives $NAME_cell
// Single numbers of a cache of f32, bound as array<f32>.
fn $NAME_cell(i: u32) -> f32 {
  return $NAME[i];
}
