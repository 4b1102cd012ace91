//@fragment moe/algorithms/align_only
//@gives after_sort
fn after_sort(expert: u32, slice: u32, index: u32, first: u32, count: u32) {
}
