//@fragment attention/mla/raise
//@needs WORDS INVOCATIONS HEADS SPLITS L LOWEST V N PIECES PIECE LANES Chunk partials positions
//@needs used_splits w_dot w_fetch lane_sum y
// Combines the shares of a head's mixed latents and multiplies them with value rows of w.
//
// partials [T, HEADS, SPLITS, L + 2] f32, w [HEADS · (N + V), L], y [T, HEADS · V] f32
// Grid: token, piece of PIECE values of a head; LANES invocations share a row of w.

var<workgroup> latent: array<f32, WORDS * 8u>;
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
  if (index >= splits) {
    return;
  }
  var top = LOWEST;
  for (var s = 0u; s < splits; s++) {
    top = max(top, partials[first + s * (L + 2u) + L]);
  }
  var total = 0.0;
  for (var s = 0u; s < splits; s++) {
    let at = first + s * (L + 2u) + L;
    total += partials[at + 1u] * exp(partials[at] - top);
  }
  share_weights[index] = exp(partials[first + index * (L + 2u) + L] - top) / total;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let token = group.x;
  let head = group.y / PIECES;
  let first = (token * HEADS + head) * SPLITS * (L + 2u);
  let splits = used_splits(u32(positions[token]) + 1u);
  weigh_shares(first, splits, index);
  workgroupBarrier();
  for (var l = index; l < WORDS * 8u; l += INVOCATIONS) {
    var sum = 0.0;
    if (l < L) {
      for (var s = 0u; s < splits; s++) {
        sum += partials[first + s * (L + 2u) + l] * share_weights[s];
      }
    }
    latent[l] = sum;
  }
  workgroupBarrier();
  let first_value = (group.y % PIECES) * PIECE;
  for (var base = 0u; base < PIECE; base += INVOCATIONS / LANES) {
    let v = first_value + base + index / LANES;
    let row = head * (N + V) + N + min(v, V - 1u);
    var sum = 0.0;
    for (var word = index % LANES; word < WORDS; word += LANES) {
      sum += w_dot(w_fetch(row, word), 0u, latent_word(word));
    }
    let total = lane_sum(vec4(sum, 0.0, 0.0, 0.0), index).x;
    if (index % LANES == 0u && base + index / LANES < PIECE && v < V) {
      y[(token * HEADS + head) * V + v] = total;
    }
  }
}
