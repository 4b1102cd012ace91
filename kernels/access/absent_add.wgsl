//@fragment access/absent_add
//@gives $NAME_at $NAME_quad
// An operand that the node does not have: adds nothing.
fn $NAME_at(i: u32) -> f32 {
  return 0.0;
}

fn $NAME_quad(i: u32) -> vec4<f32> {
  return vec4<f32>();
}
