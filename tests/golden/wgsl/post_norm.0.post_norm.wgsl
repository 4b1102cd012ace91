const INVOCATIONS = 512u;
const ELEMENTS = 6u;
const K = 2816u;
const BRANCHES = 2u;
const NEXT = 2u;
const EPS = 9.999999974752427e-7f;
const NEXT_EPS = 9.999999974752427e-7f;

@group(0) @binding(0) var<storage, read> x_0: array<f32>;
@group(0) @binding(1) var<storage, read> w_0: array<f32>;
@group(0) @binding(2) var<storage, read> x_1: array<f32>;
@group(0) @binding(3) var<storage, read> w_1: array<f32>;
@group(0) @binding(4) var<storage, read> w_sum: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>;
@group(0) @binding(6) var<storage, read> scale: array<f32>;
@group(0) @binding(7) var<storage, read_write> total: array<f32>;
@group(0) @binding(8) var<storage, read> next_0: array<f32>;
@group(0) @binding(9) var<storage, read_write> normed_0: array<f32>;
@group(0) @binding(10) var<storage, read> next_1: array<f32>;
@group(0) @binding(11) var<storage, read_write> normed_1: array<f32>;
@group(0) @binding(12) var<uniform> step: vec4<u32>;

// The sum of two normed branches, which is normed itself.
fn branch_norm(square: f32, invocation: Invocation) -> f32 {
  inner_share(0u, square, invocation);
  inner_join(invocation);
  return inverseSqrt(inner_result(0u, invocation) / f32(K) + EPS);
}

fn branch_weight(k: u32) -> f32 {
  return w_sum[k];
}

fn scale_at(i: u32) -> f32 {
  return scale[i];
}

// The norms of the sum: number `at` of each, which is number k of its row.
fn store_normed(at: u32, k: u32, x: f32) {
  //@repeat n NEXT
  normed_$n[at] = x * next_$n[k];
  //@end
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

// Combines 2u numbers over all invocations: every invocation puts its share of each, then
// square_join (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupAdd is subgroupAdd or subgroupMax, add the same for two numbers.
var<workgroup> square_shares: array<f32, 2u * MAX_SUBGROUPS>;

fn square_share(slot: u32, value: f32, invocation: Invocation) {
  let share = subgroupAdd(value);
  if (invocation.in_subgroup == 0u) {
    square_shares[invocation.subgroup * 2u + slot] = share;
  }
}

fn square_join(invocation: Invocation) {
  workgroupBarrier();
}

fn square_result(slot: u32, invocation: Invocation) -> f32 {
  var result = square_shares[slot];
  for (var s = 1u; s < invocation.subgroups; s++) {
    result = add(result, square_shares[s * 2u + slot]);
  }
  return result;
}

// Combines 1u numbers over all invocations: every invocation puts its share of each, then
// inner_join (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupAdd is subgroupAdd or subgroupMax, add the same for two numbers.
var<workgroup> inner_shares: array<f32, 1u * MAX_SUBGROUPS>;

fn inner_share(slot: u32, value: f32, invocation: Invocation) {
  let share = subgroupAdd(value);
  if (invocation.in_subgroup == 0u) {
    inner_shares[invocation.subgroup * 1u + slot] = share;
  }
}

fn inner_join(invocation: Invocation) {
  workgroupBarrier();
}

fn inner_result(slot: u32, invocation: Invocation) -> f32 {
  var result = inner_shares[slot];
  for (var s = 1u; s < invocation.subgroups; s++) {
    result = add(result, inner_shares[s * 1u + slot]);
  }
  return result;
}

// Combines 1u numbers over all invocations: every invocation puts its share of each, then
// sum_join (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupAdd is subgroupAdd or subgroupMax, add the same for two numbers.
var<workgroup> sum_shares: array<f32, 1u * MAX_SUBGROUPS>;

fn sum_share(slot: u32, value: f32, invocation: Invocation) {
  let share = subgroupAdd(value);
  if (invocation.in_subgroup == 0u) {
    sum_shares[invocation.subgroup * 1u + slot] = share;
  }
}

fn sum_join(invocation: Invocation) {
  workgroupBarrier();
}

fn sum_result(slot: u32, invocation: Invocation) -> f32 {
  var result = sum_shares[slot];
  for (var s = 1u; s < invocation.subgroups; s++) {
    result = add(result, sum_shares[s * 1u + slot]);
  }
  return result;
}

// total[m] = (residual[m] + norm(branches of m)) · scale, and norms of it with other weights.
//
// x_0 (and x_1), residual, total [rows, K] f32; w_0 (and w_1) [K] f32
// Workgroup: INVOCATIONS invocations and one row, of which each holds ELEMENTS numbers.

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
  //@repeat e ELEMENTS
  let own_$e = invocation.index + $e * INVOCATIONS < K;
  let k_$e = min(invocation.index + $e * INVOCATIONS, K - 1u);
  let residual_$e = residual[row * K + k_$e];
  //@repeat b BRANCHES
  let value_$b_$e = select(0.0, x_$b[row * K + k_$e], own_$e);
  let weight_$b_$e = w_$b[k_$e];
  //@end
  //@end
  //@repeat b BRANCHES
  {
    var square = 0.0;
    //@repeat e ELEMENTS
    square += value_$b_$e * value_$b_$e;
    //@end
    square_share($b, square, invocation);
  }
  //@end
  square_join(invocation);
  //@repeat b BRANCHES
  let scale_$b = inverseSqrt(square_result($b, invocation) / f32(K) + EPS);
  //@end
  //@repeat e ELEMENTS
  var branch_$e = 0.0;
  //@repeat b BRANCHES
  branch_$e += value_$b_$e * scale_$b * weight_$b_$e;
  //@end
  //@end
  let inner = branch_norm(
    //@repeat e ELEMENTS
    branch_$e * branch_$e +
    //@end
    0.0,
    invocation,
  );
  var square = 0.0;
  //@repeat e ELEMENTS
  let total_$e = (residual_$e + branch_$e * inner * branch_weight(k_$e)) * scale_at(0u);
  if (own_$e) {
    total[row * K + k_$e] = total_$e;
    square += total_$e * total_$e;
  }
  //@end
  if (NEXT == 0u) {
    return;
  }
  sum_share(0u, square, invocation);
  sum_join(invocation);
  let outer = inverseSqrt(sum_result(0u, invocation) / f32(K) + NEXT_EPS);
  //@repeat e ELEMENTS
  if (own_$e) {
    store_normed(row * K + k_$e, k_$e, total_$e * outer);
  }
  //@end
}
