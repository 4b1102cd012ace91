//@fragment moe/algorithms/matrix_blocks
//@needs Block NO_ROW BLOCK_M TILE_OUTPUTS MATRICES OUTPUTS TOP_K PLAN_PAIRS SOURCE TARGET tile_of step
//@needs plan row_of halves_scale finish store_results
//@gives block_of left_row put
// Blocks of sorted pairs, all of one expert, for products by matrices.
fn block_of(group: vec3<u32>, groups: vec3<u32>) -> Block {
  let tile = tile_of(group, groups);
  let matrix = tile.expert * (MATRICES * OUTPUTS);
  return Block(tile.used, tile.block * BLOCK_M, tile.column * TILE_OUTPUTS, OUTPUTS, matrix);
}

fn left_row(position: u32) -> u32 {
  let pair = plan[PLAN_PAIRS + position];
  return select(NO_ROW, row_of(SOURCE, position, pair), pair < step.x * TOP_K);
}

fn put(block: Block, position: u32, column: u32, first: vec4<f32>, second: vec4<f32>) {
  let pair = plan[PLAN_PAIRS + position];
  if (pair >= step.x * TOP_K || column >= OUTPUTS) {
    return;
  }
  let scale = halves_scale[row_of(SOURCE, position, pair)];
  //@repeat i 4
  let row_$i = block.weight + min(column + $i, OUTPUTS - 1u);
  let result_$i = finish(first[$i] * scale, second[$i] * scale, row_$i, pair);
  //@end
  let results = vec4(result_0, result_1, result_2, result_3);
  store_results(row_of(TARGET, position, pair), column, results);
}
