//@fragment matrices/plain_words
//@needs Place operands
//@gives word_of
// Plain matrices whose operands all stay in workgroup memory.
fn word_of(place: Place, at: u32) -> vec4<u32> {
  return operands[at];
}
