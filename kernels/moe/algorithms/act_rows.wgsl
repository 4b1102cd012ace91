//@fragment moe/algorithms/act_rows
//@needs INTERMEDIATE
//@gives act_place
// Where an activated product lies: row by row.
fn act_place(pair: u32, i: u32) -> u32 {
  return pair * INTERMEDIATE + i;
}
