fn row_of_pair(pair: u32) -> u32 {
  return pair;
}
