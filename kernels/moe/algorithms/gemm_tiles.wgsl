//@fragment moe/algorithms/gemm_tiles
//@needs BLOCK_M THREAD_M BLOCK_N THREAD_N MATRICES OUTPUTS GROUP_M PLAN_EXPERTS FIRST_EXPERT
//@needs END_EXPERT BY_TOKEN TOP_K BY_PAIR plan
//@gives ROWS_APART COLUMNS_APART TILE_OUTPUTS tile_of row_of
// What the grouped GEMMs share: which tile a workgroup makes, and where rows are.

const ROWS_APART = BLOCK_M / THREAD_M;
const COLUMNS_APART = BLOCK_N / THREAD_N;
const TILE_OUTPUTS = BLOCK_N / MATRICES;
const N_TILES = (OUTPUTS + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;

// What a workgroup makes: a block of rows, all of one expert, and a column of tiles. Not used are
// those behind the last block, and blocks of experts that another dispatch has.
struct Tile { used: bool, block: u32, column: u32, expert: u32 }

// Tiles in an order that keeps GROUP_M row blocks together while the columns go by, so that weights
// and rows in use stay in the cache.
fn tile_of(group: vec3<u32>, groups: vec3<u32>) -> Tile {
  let id = group.x + group.y * groups.x;
  let blocks = plan[0];
  if (id >= blocks * N_TILES) {
    return Tile(false, 0u, 0u, 0u);
  }
  let in_group = GROUP_M * N_TILES;
  let first = (id / in_group) * GROUP_M;
  let height = min(blocks - first, GROUP_M);
  let rest = id % in_group;
  let block = first + rest % height;
  let expert = plan[PLAN_EXPERTS + block];
  return Tile(expert >= FIRST_EXPERT && expert < END_EXPERT, block, rest / height, expert);
}

fn row_of(kind: u32, position: u32, pair: u32) -> u32 {
  if (kind == BY_TOKEN) {
    return pair / TOP_K;
  }
  return select(position, pair, kind == BY_PAIR);
}
