//@fragment attention/prepare_ready
//@needs HEAD_UNITS GROUP HG D INVOCATIONS HEADS SCALE Span Invocation queries ready
//@gives prepare
// What a workgroup needs before it looks at the cache: queries that `attention_append` made.
fn prepare(token: u32, unit: u32, span: Span, fresh: bool, invocation: Invocation) -> u32 {
  let first_head = (unit / HEAD_UNITS) * GROUP + (unit % HEAD_UNITS) * HG;
  for (var i = invocation.index; i < HG * D; i += INVOCATIONS) {
    queries[i / 4u][i % 4u] = ready[(token * HEADS + first_head) * D + i] * SCALE;
  }
  workgroupBarrier();
  return 0u;
}
