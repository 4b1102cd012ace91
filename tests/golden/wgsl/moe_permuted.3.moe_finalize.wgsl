const TOP_K = 2u;
const EXPERTS = 6u;
const ROW_ELEMENTS = 10u;
const INVOCATIONS = 256u;
const PLAN_POSITIONS = 968u;

@group(0) @binding(0) var<storage, read> rows: array<Element>;
@group(0) @binding(1) var<storage, read> selected: array<i32>;
@group(0) @binding(2) var<storage, read> plan: array<u32>;
@group(0) @binding(3) var<storage, read> residual: array<Element>;
@group(0) @binding(4) var<storage, read_write> y: array<Element>;
@group(0) @binding(5) var<uniform> step: vec4<u32>;

alias Element = vec4<f32>;

fn output_factor_at(i: u32) -> f32 {
  return 1.0f;
}

fn row_of_pair(pair: u32) -> u32 {
  return plan[PLAN_POSITIONS + pair];
}

fn residual_element(i: u32) -> Element {
  return residual[i];
}

// Adds a token's rows over its slots, in slot order, to the residual. Rows of pairs whose id is out
// of range were never written and are not read. One invocation per element of y.

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let i = (group.x + group.y * groups.x) * INVOCATIONS + index;
  if (i >= step.x * ROW_ELEMENTS) {
    return;
  }
  let token = i / ROW_ELEMENTS;
  let column = i % ROW_ELEMENTS;
  var total = residual_element(i);
  for (var slot = 0u; slot < TOP_K; slot++) {
    let pair = token * TOP_K + slot;
    if (u32(selected[pair]) < EXPERTS) {
      total += output_factor_at(pair) * rows[row_of_pair(pair) * ROW_ELEMENTS + column];
    }
  }
  y[i] = total;
}
