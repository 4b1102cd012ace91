//@fragment attention/mla/raise
//@needs WORDS INVOCATIONS HEADS SPLITS L LOWEST V N PIECES PIECE LANES WORDS_IN_FLIGHT
//@needs SPLITS_IN_FLIGHT Chunk partials positions used_splits w_dot w_fetch lane_sum y is_expanded
// Combines the shares of a head's mixed latents and multiplies them with value rows of w.
//
// partials [T, HEADS, SPLITS, L + 2] f32, w [HEADS · (N + V), L], y [T, HEADS · V] f32
// Grid: token, piece of PIECE values of a head; LANES invocations share a row of w.

var<workgroup> latent: array<f32, WORDS * 8u>;
var<workgroup> share_peaks: array<f32, SPLITS>;
var<workgroup> share_totals: array<f32, SPLITS>;
var<workgroup> share_weights: array<f32, SPLITS>;

fn latent_word(word: u32) -> Chunk {
  let i = word * 8u;
  return Chunk(
    vec4(latent[i], latent[i + 1u], latent[i + 2u], latent[i + 3u]),
    vec4(latent[i + 4u], latent[i + 5u], latent[i + 6u], latent[i + 7u]),
  );
}

// What the sum of each share counts.
fn weigh_shares(first: u32, splits: u32, index: u32) {
  if (index < splits) {
    let at = first + index * (L + 2u) + L;
    share_peaks[index] = partials[at];
    share_totals[index] = partials[at + 1u];
  }
  workgroupBarrier();
  if (index < splits) {
    var top = LOWEST;
    for (var s = 0u; s < splits; s++) {
      top = max(top, share_peaks[s]);
    }
    var total = 0.0;
    for (var s = 0u; s < splits; s++) {
      total += share_totals[s] * exp(share_peaks[s] - top);
    }
    share_weights[index] = exp(share_peaks[index] - top) / total;
  }
  workgroupBarrier();
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let token = group.x;
  if (is_expanded(token)) {
    return;
  }
  let head = group.y / PIECES;
  let first_value = (group.y % PIECES) * PIECE;
  let lane = index % LANES;
  // Words of the first row are on their way while the shares are combined.
  let first_row = head * (N + V) + N + min(first_value + index / LANES, V - 1u);
  //@repeat w WORDS_IN_FLIGHT
  let word_$w = min(lane + $w * LANES, WORDS - 1u);
  let counts_$w = select(0.0, 1.0, lane + $w * LANES < WORDS);
  let early_$w = w_fetch(first_row, word_$w);
  //@end
  let first = (token * HEADS + head) * SPLITS * (L + 2u);
  let splits = used_splits(u32(positions[token]) + 1u);
  weigh_shares(first, splits, index);
  for (var l = index; l < WORDS * 8u; l += INVOCATIONS) {
    var sum = 0.0;
    for (var s = 0u; s < splits; s += SPLITS_IN_FLIGHT) {
      //@repeat k SPLITS_IN_FLIGHT
      let part_$k = partials[first + min(s + $k, splits - 1u) * (L + 2u) + min(l, L - 1u)];
      //@end
      //@repeat k SPLITS_IN_FLIGHT
      sum += part_$k * select(0.0, share_weights[min(s + $k, SPLITS - 1u)], s + $k < splits);
      //@end
    }
    latent[l] = select(0.0, sum, l < L);
  }
  workgroupBarrier();
  for (var base = 0u; base < PIECE; base += INVOCATIONS / LANES) {
    let v = first_value + base + index / LANES;
    let row = head * (N + V) + N + min(v, V - 1u);
    var sum = 0.0;
    if (base == 0u) {
      //@repeat w WORDS_IN_FLIGHT
      sum += counts_$w * w_dot(early_$w, 0u, latent_word(word_$w));
      //@end
    } else {
      //@repeat w WORDS_IN_FLIGHT
      let w_$w = w_fetch(row, word_$w);
      //@end
      //@repeat w WORDS_IN_FLIGHT
      sum += counts_$w * w_dot(w_$w, 0u, latent_word(word_$w));
      //@end
    }
    for (var word = lane + LANES * WORDS_IN_FLIGHT; word < WORDS; word += LANES) {
      sum += w_dot(w_fetch(row, word), 0u, latent_word(word));
    }
    let total = lane_sum(vec4(sum, 0.0, 0.0, 0.0), index).x;
    if (lane == 0u && base + index / LANES < PIECE && v < V) {
      y[(token * HEADS + head) * V + v] = total;
    }
  }
}
