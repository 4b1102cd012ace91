// y[token of slot m, h] += routing weight of slot m · rows[m, h]; a token picks an expert once, so
// no two threads meet.
// Prelude: H, TOP_K.

@group(0) @binding(0) var<storage, read> rows: array<f32>;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> routing_weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> part: Part;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= H || id.y >= part.rows) {
    return;
  }
  let slot = slots[part.first + id.y];
  y[(slot / TOP_K) * H + id.x] += routing_weights[slot] * rows[id.y * H + id.x];
}
