//@fragment access/operand_at
//@needs $SOURCE
//@gives $NAME_at
fn $NAME_at(i: u32) -> f32 {
  return $SOURCE[i];
}
