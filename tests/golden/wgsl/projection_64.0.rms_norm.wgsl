const INVOCATIONS = 128u;
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
const MAX_SUBGROUPS = max(1u, INVOCATIONS / 8u);

struct Invocation {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) in_subgroup: u32,
}

fn add(a: f32, b: f32) -> f32 {
  return a + b;
}

// Combines SUMS numbers over all invocations: every invocation puts its share of each, then
// sum_join (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupAdd is subgroupAdd or subgroupMax, add the same for two numbers.
var<workgroup> sum_shares: array<f32, SUMS * MAX_SUBGROUPS>;

fn sum_share(slot: u32, value: f32, invocation: Invocation) {
  let share = subgroupAdd(value);
  if (invocation.in_subgroup == 0u) {
    sum_shares[invocation.subgroup * SUMS + slot] = share;
  }
}

fn sum_join(invocation: Invocation) {
  workgroupBarrier();
}

fn sum_result(slot: u32, invocation: Invocation) -> f32 {
  var result = sum_shares[slot];
  for (var s = 1u; s < invocation.subgroups; s++) {
    result = add(result, sum_shares[s * SUMS + slot]);
  }
  return result;
}

// y[m] = x[m] / sqrt(mean(x[m]²) + EPS) · w; before add_rms_norm x is x + residual, which is
// written as well.
//
// x, residual, y, total [rows, K] f32, w [K] f32
// Workgroup: INVOCATIONS invocations and one row.

@compute @workgroup_size(INVOCATIONS)
fn main(
  invocation: Invocation,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let row = group.x + group.y * groups.x;
  if (row >= rows_of_step()) {
    return;
  }
  var square = 0.0;
  for (var k = invocation.index; k < K; k += INVOCATIONS) {
    let x = load_input(row * K + k);
    store_total(row * K + k, x);
    square += x * x;
  }
  sum_share(0u, square, invocation);
  sum_join(invocation);
  let scale = inverseSqrt(sum_result(0u, invocation) / f32(K) + EPS);
  for (var k = invocation.index; k < K; k += INVOCATIONS) {
    y[row * K + k] = load_input(row * K + k) * scale * w[k];
  }
}
