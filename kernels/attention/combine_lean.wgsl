//@fragment attention/combine_lean
//@needs HG D INVOCATIONS COMBINED PARTIAL HEADS partial_at load_partial head_of sink_at y
//@gives combine
// Combines what the splits of one token and one unit found, in order: each left its own result, and
// the logarithm of what its softmax adds up to. COMBINED splits are loaded at a time.
fn combine(token: u32, unit: u32, splits: u32, index: u32) {
  let base = partial_at(token, unit, 0u);
  for (var e = index; e < HG * D; e += INVOCATIONS) {
    let head = head_of(unit, e / D);
    var peak = sink_at(head);
    var total = 1.0;
    var sum = 0.0;
    for (var s = 0u; s < splits; s += COMBINED) {
      //@repeat u COMBINED
      let at_$u = base + min(s + $u, splits - 1u) * PARTIAL;
      let value_$u = load_partial(at_$u + e);
      let weight_$u = load_partial(at_$u + HG * D + e / D);
      //@end
      var top = peak;
      //@repeat u COMBINED
      top = max(top, weight_$u);
      //@end
      let before = exp(peak - top);
      peak = top;
      total *= before;
      sum *= before;
      //@repeat u COMBINED
      {
        let factor = select(0.0, exp(weight_$u - top), s + $u < splits);
        total += factor;
        sum += factor * value_$u;
      }
      //@end
    }
    y[(token * HEADS + head) * D + e % D] = sum / total;
  }
}
