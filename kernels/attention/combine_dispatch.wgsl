//@fragment attention/combine_dispatch
//@needs INVOCATIONS ONLY_SHORT_RUNS in_long_run span_of combine
// Combines the splits of `attention_decode` in a dispatch of its own, for devices on which the last
// workgroup to arrive cannot.
//
// Grid: 1, unit, token.

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let token = group.z;
  if (ONLY_SHORT_RUNS && in_long_run(token)) {
    return;
  }
  let span = span_of(token);
  if (span.splits > 1u) {
    combine(token, group.y, span.splits, index);
  }
}
