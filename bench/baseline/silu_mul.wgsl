// act[i] = gate[i] · sigmoid(gate[i]) · up[i], with gpt-oss's clamps where OAI is set.
// Prelude: COLUMNS, OAI.

@group(0) @binding(0) var<storage, read> gate: array<f32>;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> act: array<f32>;
@group(0) @binding(3) var<storage, read> part: Part;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (group.x + group.y * groups.x) * 64u + local;
  if (i >= part.rows * COLUMNS) {
    return;
  }
  if (OAI) {
    let g = min(gate[i], 7.0);
    act[i] = (clamp(up[i], -7.0, 7.0) + 1.0) * g / (1.0 + exp(-1.702 * g));
  } else {
    act[i] = up[i] * gate[i] / (1.0 + exp(-gate[i]));
  }
}
