//@fragment attention/mla/stretch_results
//@needs HEADS stretch softmax y
//@gives shares_of put_result
// Results of attention over one stretch after another: `y` holds those of the stretches so far, and
// `softmax` what they are relative to.
//
// softmax: twice [T, HEADS] of a largest score and the sum of the weights relative to it. A stretch reads
// one half, from stretch[2] on, and writes the other, from stretch[3] on.

// What the results so far count, and what the sums of this stretch are multiplied with.
fn shares_of(token: u32, head: u32, peak: f32, total: f32, begins: bool, alone: bool) -> vec2<f32> {
  let at = token * HEADS + head;
  var earlier = vec2(peak, 0.0);
  if (!begins) {
    earlier = softmax[stretch[2] + at];
  }
  let top = max(peak, earlier.x);
  let kept = earlier.y * exp(earlier.x - top);
  let factor = exp(peak - top);
  let all = kept + total * factor;
  if (alone) {
    softmax[stretch[3] + at] = vec2(top, all);
  }
  return vec2(kept, factor) / all;
}

fn put_result(at: u32, sums: vec4<f32>, shares: vec2<f32>) {
  if (shares.x == 0.0) {
    y[at] = sums * shares.y;
  } else {
    y[at] = y[at] * shares.x + sums * shares.y;
  }
}
