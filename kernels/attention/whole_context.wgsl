//@fragment attention/whole_context
//@needs sink_at y
//@gives span_of shares_of put_result
// Attention that sees all of its keys in one dispatch.

// The first and the last of a run's keys that are here.
fn span_of(sequence: u32, first: u32, last: u32) -> vec2<u32> {
  return vec2(first, last);
}

// What counts of a query's result in `y` so far, and what its sums are multiplied with. Weights are
// relative to `peak`, and `total` is their sum; `begins` where no key came before, `alone` for one of
// the invocations that share a query.
fn shares_of(token: u32, head: u32, peak: f32, total: f32, begins: bool, alone: bool) -> vec2<f32> {
  let sink = sink_at(head);
  let top = max(peak, sink);
  let factor = exp(peak - top);
  return vec2(0.0, factor / (total * factor + exp(sink - top)));
}

fn put_result(at: u32, sums: vec4<f32>, shares: vec2<f32>) {
  y[at] = sums * shares.y;
}
