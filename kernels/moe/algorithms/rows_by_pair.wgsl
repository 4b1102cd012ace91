//@fragment moe/algorithms/rows_by_pair
//@gives row_of_pair
fn row_of_pair(pair: u32) -> u32 {
  return pair;
}
