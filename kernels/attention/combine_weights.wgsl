//@fragment attention/combine_weights
//@needs HG SPLITS INVOCATIONS PARTIAL D LOWEST COMBINED partial_at load_partial store_result
//@gives combine
// Combines what the splits of one token and one unit found, in order: first the weight of every
// split in workgroup memory, then each invocation its numbers. Little text, because a kernel that
// has not run for a while comes from memory too. COMBINED splits are loaded at a time.
var<workgroup> split_peaks: array<f32, HG * SPLITS>;
var<workgroup> split_totals: array<f32, HG * SPLITS>;

fn combine(token: u32, unit: u32, splits: u32, index: u32) {
  let base = partial_at(token, unit, 0u);
  for (var i = index; i < HG * splits; i += INVOCATIONS) {
    let at = base + (i % splits) * PARTIAL + HG * D + i / splits;
    split_peaks[i] = load_partial(at);
    split_totals[i] = load_partial(at + HG);
  }
  workgroupBarrier();
  for (var e = index; e < HG * D; e += INVOCATIONS) {
    let h = e / D;
    var peak = LOWEST;
    for (var s = 0u; s < splits; s++) {
      peak = max(peak, split_peaks[h * splits + s]);
    }
    var total = 0.0;
    var sum = 0.0;
    for (var s = 0u; s < splits; s += COMBINED) {
      //@repeat u COMBINED
      let value_$u = load_partial(base + min(s + $u, splits - 1u) * PARTIAL + e);
      //@end
      //@repeat u COMBINED
      if (s + $u < splits) {
        let factor = exp(split_peaks[h * splits + s + $u] - peak);
        total += factor * split_totals[h * splits + s + $u];
        sum += factor * value_$u;
      }
      //@end
    }
    store_result(token, unit, e, sum, peak, total);
  }
}
