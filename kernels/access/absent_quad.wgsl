//@fragment access/absent_quad
//@gives $NAME_quad
fn $NAME_quad(i: u32) -> vec4<f32> {
  return vec4($VALUE);
}
