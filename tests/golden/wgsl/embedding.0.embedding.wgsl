const INVOCATIONS = 256u;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> rows: array<i32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> step: vec4<u32>;

fn x_get(i: u32) -> f32 {
  let word = x[i / 2u];
  return bitcast<f32>((word >> ((i & 1u) * 16u)) << 16u);
}

fn rows_get(i: u32) -> i32 {
  return rows[i];
}

fn y_at(i: u32) -> u32 {
  return i;
}

fn domain() -> u32 {
  return (2048u * step.x);
}

fn element(i: u32) -> f32 {
  return x_get(min(u32(rows_get(i / 2048u)), 151936u - 1u) * 2048u + i % 2048u);
}

fn store_y(at: u32, value: f32) {
  y[at] = value;
}

// One element an invocation: y[y_at(i)] = element(i) for i below the domain's size.
//
// Layout ops and arithmetic are the same kernel: `element` reads the inputs where the op wants them
// and `y_at` says where the result goes.

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let i = (group.x + group.y * groups.x) * INVOCATIONS + index;
  if (i < domain()) {
    store_y(y_at(i), element(i));
  }
}
