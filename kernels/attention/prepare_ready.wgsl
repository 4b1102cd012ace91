//@fragment attention/prepare_ready
//@needs HEAD_PARTS GROUP HG D THREADS HEADS SCALE Span Lanes queries ready
//@gives prepare
// What a workgroup needs before it looks at the cache: queries that `attention_append` made.
fn prepare(token: u32, unit: u32, span: Span, fresh: bool, lanes: Lanes) -> u32 {
  let first_head = (unit / HEAD_PARTS) * GROUP + (unit % HEAD_PARTS) * HG;
  for (var i = lanes.index; i < HG * D; i += THREADS) {
    queries[i / 4u][i % 4u] = ready[(token * HEADS + first_head) * D + i] * SCALE;
  }
  workgroupBarrier();
  return 0u;
}
