//@fragment moe/algorithms/rows_by_position
//@needs PLAN_POSITIONS plan
//@gives row_of_pair
fn row_of_pair(pair: u32) -> u32 {
  return plan[PLAN_POSITIONS + pair];
}
