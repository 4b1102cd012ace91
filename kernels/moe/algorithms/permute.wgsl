//@fragment moe/algorithms/permute
//@needs SLICE_COLUMNS ROW_ELEMENTS INVOCATIONS PLAN_SIZE PLAN_PAIRS TOP_K PLAN_POSITIONS plan x
//@needs permuted input_factor_at
//@gives after_sort
// Copies the rows of this expert's tokens to their sorted positions, and notes where each pair
// went. Every slice of the grid copies its share of the columns, from a sorted list of its own:
// another workgroup's writes cannot be seen within a dispatch.
fn after_sort(expert: u32, slice: u32, index: u32, first: u32, count: u32) {
  storageBarrier();
  let begin = slice * SLICE_COLUMNS;
  let columns = min(SLICE_COLUMNS, ROW_ELEMENTS - min(begin, ROW_ELEMENTS));
  for (var i = index; i < count * columns; i += INVOCATIONS) {
    let position = first + i / columns;
    let pair = plan[slice * PLAN_SIZE + PLAN_PAIRS + position];
    let column = begin + i % columns;
    let row = x[(pair / TOP_K) * ROW_ELEMENTS + column];
    permuted[position * ROW_ELEMENTS + column] = row * input_factor_at(pair);
    if (column == 0u) {
      plan[PLAN_POSITIONS + pair] = position;
    }
  }
}
