// rows[m, h] = x[token of slot m, h] for the slots of one expert.
// Prelude: H, TOP_K.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read_write> rows: array<f32>;
@group(0) @binding(3) var<storage, read> part: Part;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= H || id.y >= part.rows) {
    return;
  }
  rows[id.y * H + id.x] = x[(slots[part.first + id.y] / TOP_K) * H + id.x];
}
