//@fragment moe/algorithms/gemm_tiles
//@needs BLOCK_M THREAD_M BLOCK_N THREAD_N MATRICES OUTPUTS GROUP_M BY_TOKEN TOP_K BY_PAIR
//@gives ROWS_APART COLUMNS_APART TILE_OUTPUTS N_TILES tile_of row_of
// What the grouped GEMMs share: which tile a workgroup makes, and where rows are.

const ROWS_APART = BLOCK_M / THREAD_M;
const COLUMNS_APART = BLOCK_N / THREAD_N;
const TILE_OUTPUTS = BLOCK_N / MATRICES;
const N_TILES = (OUTPUTS + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;

// Tiles in an order that keeps GROUP_M row blocks together while the columns go by, so that weights
// and rows in use stay in the cache.
fn tile_of(id: u32, blocks: u32) -> vec2<u32> {
  let in_group = GROUP_M * N_TILES;
  let first = (id / in_group) * GROUP_M;
  let height = min(blocks - first, GROUP_M);
  let rest = id % in_group;
  return vec2(first + rest % height, rest / height);
}

fn row_of(kind: u32, position: u32, pair: u32) -> u32 {
  if (kind == BY_TOKEN) {
    return pair / TOP_K;
  }
  return select(position, pair, kind == BY_PAIR);
}
