//@fragment linear/finish_gated
//@needs gate_quad activation
//@gives finish_quad
// Multiplies the sum of the up projection with the activated gate, which is there already.
fn finish_quad(sum: vec4<f32>, at: u32) -> vec4<f32> {
  let gate = gate_quad(at);
  return sum * vec4(activation(gate.x), activation(gate.y), activation(gate.z), activation(gate.w));
}
