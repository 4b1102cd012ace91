//@fragment sampling/adjust
//@needs INVOCATIONS HEADER_WORDS ENTRIES V SEEN_WORDS LOWEST draw_details logits masks
// What the host has to say about the draws of a step, written into the logits before sampling.
//
// logits [R, V] f32; draw_details: a header of HEADER_WORDS for each row (first pair, pairs,
// whether the row has a mask, see draw_details.ts), then from ENTRIES on pairs of a token and what
// is added to its logit, f32; masks [R, SEEN_WORDS]: bit id % 32 of word id / 32 is set for every
// token that may be drawn. Grid: row.

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let row = group.x;
  let first = draw_details[row * HEADER_WORDS];
  let count = draw_details[row * HEADER_WORDS + 1u];
  for (var i = index; i < count; i += INVOCATIONS) {
    let at = ENTRIES + 2u * (first + i);
    let at_logit = row * V + min(draw_details[at], V - 1u);
    logits[at_logit] = logits[at_logit] + bitcast<f32>(draw_details[at + 1u]);
  }
  if (draw_details[row * HEADER_WORDS + 2u] == 0u) {
    return;
  }
  storageBarrier();
  for (var id = index; id < V; id += INVOCATIONS) {
    if (((masks[row * SEEN_WORDS + id / 32u] >> (id % 32u)) & 1u) == 0u) {
      logits[row * V + id] = LOWEST;
    }
  }
}
