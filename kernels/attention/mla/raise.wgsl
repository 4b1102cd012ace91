//@fragment attention/mla/raise
//@needs WORDS INVOCATIONS HEADS SPLITS L LOWEST V N Chunk partials w_dot w_fetch y
// Combines the shares of a head's mixed latents and multiplies them with the value rows of w.
//
// partials [T, HEADS, SPLITS, L + 2] f32, w [HEADS · (N + V), L], y [T, HEADS · V] f32
// Grid: token, head.

var<workgroup> latent: array<f32, WORDS * 8u>;

fn latent_word(word: u32) -> Chunk {
  let i = word * 8u;
  return Chunk(
    vec4(latent[i], latent[i + 1u], latent[i + 2u], latent[i + 3u]),
    vec4(latent[i + 4u], latent[i + 5u], latent[i + 6u], latent[i + 7u]),
  );
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let token = group.x;
  let head = group.y;
  let first = (token * HEADS + head) * SPLITS * (L + 2u);
  var top = LOWEST;
  for (var s = 0u; s < SPLITS; s++) {
    top = max(top, partials[first + s * (L + 2u) + L]);
  }
  var total = 0.0;
  for (var s = 0u; s < SPLITS; s++) {
    let at = first + s * (L + 2u) + L;
    total += partials[at + 1u] * exp(partials[at] - top);
  }
  for (var l = index; l < WORDS * 8u; l += INVOCATIONS) {
    var sum = 0.0;
    if (l < L) {
      for (var s = 0u; s < SPLITS; s++) {
        let at = first + s * (L + 2u);
        sum += partials[at + l] * exp(partials[at + L] - top);
      }
    }
    latent[l] = sum / total;
  }
  workgroupBarrier();
  for (var v = index; v < V; v += INVOCATIONS) {
    let row = head * (N + V) + N + v;
    var sum = 0.0;
    for (var word = 0u; word < WORDS; word++) {
      sum += w_dot(w_fetch(row, word), 0u, latent_word(word));
    }
    y[(token * HEADS + head) * V + v] = sum;
  }
}
