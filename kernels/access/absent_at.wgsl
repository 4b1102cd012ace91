//@fragment access/absent_at
//@gives $NAME_at
fn $NAME_at(i: u32) -> f32 {
  return $VALUE;
}
