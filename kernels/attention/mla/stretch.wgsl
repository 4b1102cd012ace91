//@fragment attention/mla/stretch
//@needs STRETCH_FIRST STRETCH_ROWS plan
//@gives stretch_rows
// A stretch: those of the tokens in order whose keys and values are there at a time.
fn stretch_rows() -> u32 {
  return min(max(plan[1], STRETCH_FIRST) - STRETCH_FIRST, STRETCH_ROWS);
}
