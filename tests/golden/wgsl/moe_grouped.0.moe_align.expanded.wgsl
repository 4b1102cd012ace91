const BLOCK_M = 16u;
const TOP_K = 2u;
const EXPERTS = 6u;
const PLAN_EXPERTS = 4u;
const PLAN_PAIRS = 13u;
const PLAN_SIZE = 157u;
const PLAN_POSITIONS = 157u;
const PADDING = 4294967295u;
const INVOCATIONS = 256u;

@group(0) @binding(0) var<storage, read> selected: array<i32>;
@group(0) @binding(1) var<storage, read_write> plan: array<u32>;
@group(0) @binding(2) var<uniform> step: vec4<u32>;

fn after_sort(expert: u32, slice: u32, index: u32, first: u32, count: u32) {
}

// Sorts (token, slot) pairs by expert, each expert's list padded to whole blocks of BLOCK_M, stably
// and in one dispatch: every workgroup counts all ids, then compacts the pairs of its own expert.
// Pairs whose id is out of range are dropped. Grid: (experts, slices).
//
// plan: [0] blocks in use, [PLAN_EXPERTS + b] expert of block b, [PLAN_PAIRS + i] pair at sorted
// position i or the sentinel PADDING.

var<workgroup> counts: array<atomic<u32>, EXPERTS>;
// x: pairs of this expert, y: blocks of the experts before it; by invocation, then summed up.
var<workgroup> sums: array<vec2<u32>, INVOCATIONS>;

fn blocks_of(expert: u32) -> u32 {
  return (atomicLoad(&counts[expert]) + BLOCK_M - 1u) / BLOCK_M;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let expert = group.x;
  let pairs = step.x * TOP_K;
  // Each invocation looks at a run of neighbours, so that order is kept.
  let share = (pairs + INVOCATIONS - 1u) / INVOCATIONS;
  let begin = min(index * share, pairs);
  let end = min(begin + share, pairs);
  var mine = 0u;
  for (var pair = begin; pair < end; pair++) {
    let id = u32(selected[pair]);
    if (id < EXPERTS) {
      atomicAdd(&counts[id], 1u);
    }
    mine += u32(id == expert);
  }
  workgroupBarrier();
  var before = 0u;
  for (var other = index; other < expert; other += INVOCATIONS) {
    before += blocks_of(other);
  }
  sums[index] = vec2(mine, before);
  workgroupBarrier();
  for (var reach = 1u; reach < INVOCATIONS; reach <<= 1u) {
    var left = vec2<u32>();
    if (index >= reach) {
      left = sums[index - reach];
    }
    workgroupBarrier();
    sums[index] += left;
    workgroupBarrier();
  }
  let total = sums[INVOCATIONS - 1u];
  let first_block = total.y;
  let blocks = blocks_of(expert);
  let slice = group.y * PLAN_SIZE;
  let list = slice + PLAN_PAIRS + first_block * BLOCK_M;
  var position = list + sums[index].x - mine;
  for (var pair = begin; pair < end; pair++) {
    if (u32(selected[pair]) == expert) {
      plan[position] = pair;
      position++;
    }
  }
  for (var i = total.x + index; i < blocks * BLOCK_M; i += INVOCATIONS) {
    plan[list + i] = PADDING;
  }
  for (var b = index; b < blocks; b += INVOCATIONS) {
    plan[slice + PLAN_EXPERTS + first_block + b] = expert;
  }
  if (index == 0u && expert == EXPERTS - 1u) {
    plan[slice] = first_block + blocks;
  }
  after_sort(expert, group.y, index, first_block * BLOCK_M, total.x);
}
