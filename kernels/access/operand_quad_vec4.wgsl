//@fragment access/operand_quad_vec4
//@needs $SOURCE
//@gives $NAME_quad
// Four neighbours of an array<vec4<f32>>; `i` counts numbers.
fn $NAME_quad(i: u32) -> vec4<f32> {
  return $SOURCE[i / 4u];
}
