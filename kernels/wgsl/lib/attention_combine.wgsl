// Combines what the splits of one token and one unit (HG query heads of a key head) found.
//
// partials holds, for each (token, unit, split), HG rows of D sums, then HG peaks, then HG totals:
// all relative to the split's own peak. Order is fixed: results do not depend on who came last.
const PARTIAL = HG * (D + 2u);

fn partial_at(token: u32, unit: u32, split: u32) -> u32 {
  return ((token * UNITS + unit) * SPLITS + split) * PARTIAL;
}

// out = Σ weights · values / (Σ weights + sink), where the weights are relative to `peak`.
fn store_result(token: u32, unit: u32, e: u32, sum: f32, peak: f32, total: f32) {
  let head = (unit / HEAD_PARTS) * GROUP + (unit % HEAD_PARTS) * HG + e / D;
  let sink = sink_at(head);
  let top = max(peak, sink);
  let factor = exp(peak - top);
  y[(token * HEADS + head) * D + e % D] = sum * factor / (total * factor + exp(sink - top));
}

fn combine(token: u32, unit: u32, splits: u32, thread: u32) {
  let base = partial_at(token, unit, 0u);
  let padded = (splits + 3u) / 4u * 4u;
  for (var i = thread; i < splits * HG; i += THREADS) {
    let at = base + (i / HG) * PARTIAL + HG * D + i % HG;
    scores[i] = load_partial(at);
    scores[SPLITS * HG + i] = load_partial(at + HG);
  }
  workgroupBarrier();
  // Every thread needs the peaks of its own heads only, which are few.
  //@repeat e ELEMENTS
  let e_$e = thread + $e * THREADS;
  let h_$e = min(e_$e / D, HG - 1u);
  var peak_$e = scores[h_$e];
  for (var s = 1u; s < splits; s++) {
    peak_$e = max(peak_$e, scores[s * HG + h_$e]);
  }
  var total_$e = 0.0;
  var sum_$e = 0.0;
  //@end
  for (var s = 0u; s < padded; s += 4u) {
    //@repeat u 4
    let split_$u = min(s + $u, splits - 1u);
    //@repeat e ELEMENTS
    let value_$u_$e = load_partial(base + split_$u * PARTIAL + min(e_$e, HG * D - 1u));
    //@end
    //@end
    //@repeat u 4
    if (s + $u < splits) {
      //@repeat e ELEMENTS
      {
        let factor = exp(scores[split_$u * HG + h_$e] - peak_$e);
        total_$e += factor * scores[SPLITS * HG + split_$u * HG + h_$e];
        sum_$e += factor * value_$u_$e;
      }
      //@end
    }
    //@end
  }
  //@repeat e ELEMENTS
  if (e_$e < HG * D) {
    store_result(token, unit, e_$e, sum_$e, peak_$e, total_$e);
  }
  //@end
}
