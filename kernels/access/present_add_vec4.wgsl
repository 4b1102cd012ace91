//@fragment access/present_add_vec4
//@needs $NAME
//@gives $NAME_quad
// An operand that is added, bound as array<vec4<f32>>.
fn $NAME_quad(i: u32) -> vec4<f32> {
  return $NAME[i / 4u];
}
