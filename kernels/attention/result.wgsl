//@fragment attention/result
//@needs HG D UNITS SPLITS HEAD_UNITS GROUP HEADS sink_at y
//@gives PARTIAL partial_at gain_of head_of store_result
// Where results go. partials holds, for each (token, unit, split), HG rows of D sums, then HG
// peaks, then HG totals: all relative to the split's own peak.
const PARTIAL = HG * (D + 2u);

fn partial_at(token: u32, unit: u32, split: u32) -> u32 {
  return ((token * UNITS + unit) * SPLITS + split) * PARTIAL;
}

// What sums of a head are multiplied with: out = Σ weights · values / (Σ weights + sink), where the
// weights are relative to `peak`.
fn gain_of(head: u32, peak: f32, total: f32) -> f32 {
  let sink = sink_at(head);
  let top = max(peak, sink);
  let factor = exp(peak - top);
  return factor / (total * factor + exp(sink - top));
}

// Head of a unit's head.
fn head_of(unit: u32, h: u32) -> u32 {
  return (unit / HEAD_UNITS) * GROUP + (unit % HEAD_UNITS) * HG + h;
}

fn store_result(token: u32, unit: u32, e: u32, sum: f32, peak: f32, total: f32) {
  let head = head_of(unit, e / D);
  y[(token * HEADS + head) * D + e % D] = sum * gain_of(head, peak, total);
}
