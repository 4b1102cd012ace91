//@fragment attention/mla/stretch
//@needs stretch
//@gives stretch_first stretch_rows
// A stretch: those of the tokens in order whose keys and values are there at a time. Which of them it is
// stands in a buffer, so that all stretches have one shader.
fn stretch_first() -> u32 {
  return stretch[0];
}

fn stretch_rows() -> u32 {
  return stretch[1];
}
