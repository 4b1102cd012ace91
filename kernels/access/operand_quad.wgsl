//@fragment access/operand_quad
//@needs $SOURCE
//@gives $NAME_quad
// Four neighbours of an array<f32>.
fn $NAME_quad(i: u32) -> vec4<f32> {
  return vec4($SOURCE[i], $SOURCE[i + 1u], $SOURCE[i + 2u], $SOURCE[i + 3u]);
}
