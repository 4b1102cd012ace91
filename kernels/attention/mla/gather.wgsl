//@fragment attention/mla/gather
//@needs INVOCATIONS SLOTS HEADS NOPE_WORDS LATENT_WORDS TURNING_WORDS
//@needs plan first_place stretch_first stretch_rows cache_row keys_fetch keys_unpack expanded_store latents
// Brings the latents of a stretch together, and the key that turns to the keys of every head.
//
// keys: the cache; latents [rows, L] f32; expanded [rows, HEADS, N + R]: keys
// Grid: token of the stretch.

// Row of the cache that has the token at a place.
fn row_of(place: u32) -> u32 {
  var sequence = 0u;
  for (var i = 0u; i < min(plan[0], SLOTS); i++) {
    let other = plan[2u + SLOTS + i];
    if (first_place(other) > place) {
      break;
    }
    sequence = other;
  }
  return cache_row(sequence, place - first_place(sequence), 0u);
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let row = group.x + group.y * groups.x;
  if (row >= stretch_rows()) {
    return;
  }
  let source = row_of(stretch_first() + row);
  for (var word = index; word < LATENT_WORDS; word += INVOCATIONS) {
    let latent = keys_unpack(keys_fetch(source, word), 0u);
    let at = (row * LATENT_WORDS + word) * 2u;
    latents[at] = latent.lo;
    latents[at + 1u] = latent.hi;
  }
  for (var i = index; i < HEADS * TURNING_WORDS; i += INVOCATIONS) {
    let word = i % TURNING_WORDS;
    let turning = keys_unpack(keys_fetch(source, LATENT_WORDS + word), 0u);
    expanded_store(row * HEADS + i / TURNING_WORDS, NOPE_WORDS + word, turning);
  }
}
