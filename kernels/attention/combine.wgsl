//@fragment attention/combine
//@needs HG D INVOCATIONS LOWEST COMBINED PARTIAL partial_at load_partial store_result
//@gives combine
// Combines what the splits of one token and one unit (HG query heads of a key head) found. Order is
// fixed: results do not depend on who came last. COMBINED splits are loaded at a
// time.
fn combine(token: u32, unit: u32, splits: u32, index: u32) {
  let base = partial_at(token, unit, 0u);
  for (var e = index; e < HG * D; e += INVOCATIONS) {
    let rest = HG * D + e / D;
    var peak = LOWEST;
    var total = 0.0;
    var sum = 0.0;
    // So many splits at a time that one wait for memory is usually all.
    for (var s = 0u; s < splits; s += COMBINED) {
      //@repeat u COMBINED
      let at_$u = base + min(s + $u, splits - 1u) * PARTIAL;
      let value_$u = load_partial(at_$u + e);
      let peak_$u = load_partial(at_$u + rest);
      let total_$u = load_partial(at_$u + rest + HG);
      //@end
      var top = peak;
      //@repeat u COMBINED
      top = max(top, peak_$u);
      //@end
      let before = exp(peak - top);
      peak = top;
      total *= before;
      sum *= before;
      //@repeat u COMBINED
      if (s + $u < splits) {
        let factor = exp(peak_$u - top);
        total += factor * total_$u;
        sum += factor * value_$u;
      }
      //@end
    }
    store_result(token, unit, e, sum, peak, total);
  }
}
