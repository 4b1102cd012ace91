const THREADS = 128u;
const K = 2048u;
const EPS = 9.999999974752427e-7f;
const SUMS = 1u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> step: vec4<u32>;

fn load_input(i: u32) -> f32 {
  return x[i];
}

fn store_total(i: u32, value: f32) {
}

fn rows_of_step() -> u32 {
  return step.x;
}

// The invocations of a workgroup, where subgroups may be used. Nothing is assumed about the size of
// subgroups but that they have 8 invocations or more.
const MAX_SUBGROUPS = max(1u, THREADS / 8u);

struct Lanes {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) invocation: u32,
}

fn lanes_add(a: f32, b: f32) -> f32 {
  return a + b;
}

// Combines SUMS numbers over all invocations: every invocation puts its share of each, then
// sum_meet (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupAdd is subgroupAdd or subgroupMax, lanes_add the same for two numbers.
var<workgroup> sum_shares: array<f32, SUMS * MAX_SUBGROUPS>;

fn sum_put(slot: u32, value: f32, lanes: Lanes) {
  let share = subgroupAdd(value);
  if (lanes.invocation == 0u) {
    sum_shares[lanes.subgroup * SUMS + slot] = share;
  }
}

fn sum_meet(lanes: Lanes) {
  workgroupBarrier();
}

fn sum_get(slot: u32, lanes: Lanes) -> f32 {
  var result = sum_shares[slot];
  for (var s = 1u; s < lanes.subgroups; s++) {
    result = lanes_add(result, sum_shares[s * SUMS + slot]);
  }
  return result;
}

// y[m] = x[m] / sqrt(mean(x[m]²) + EPS) · w; before add_rms_norm x is x + residual, which is
// written as well.
//
// x, residual, y, total [rows, K] f32, w [K] f32
// Workgroup: THREADS invocations and one row.

@compute @workgroup_size(THREADS)
fn main(
  lanes: Lanes,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let row = group.x + group.y * groups.x;
  if (row >= rows_of_step()) {
    return;
  }
  var square = 0.0;
  for (var k = lanes.index; k < K; k += THREADS) {
    let x = load_input(row * K + k);
    store_total(row * K + k, x);
    square += x * x;
  }
  sum_put(0u, square, lanes);
  sum_meet(lanes);
  let scale = inverseSqrt(sum_get(0u, lanes) / f32(K) + EPS);
  for (var k = lanes.index; k < K; k += THREADS) {
    y[row * K + k] = load_input(row * K + k) * scale * w[k];
  }
}
