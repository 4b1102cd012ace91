//@fragment access/present_add
//@needs $NAME
//@gives $NAME_at $NAME_quad
// An operand that is added, bound as array<f32>.
fn $NAME_at(i: u32) -> f32 {
  return $NAME[i];
}

fn $NAME_quad(i: u32) -> vec4<f32> {
  return vec4($NAME[i], $NAME[i + 1u], $NAME[i + 2u], $NAME[i + 3u]);
}
