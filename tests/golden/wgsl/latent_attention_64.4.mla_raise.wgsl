const w_COLUMNS = 512u;
const w_CHUNKS = 1u;
const w_WORDS = 64u;
const w_FIRST_ROW = 0u;
const HEADS = 20u;
const N = 192u;
const R = 64u;
const V = 256u;
const L = 512u;
const D = 576u;
const KV_HEADS = 1u;
const PAGE = 16u;
const WINDOW = 0u;
const LONG_RUN = 1u;
const WORDS = 64u;
const SPLITS = 1u;
const LEAST_SHARE = 32u;
const LOWEST = -3.4028234663852886e+38f;
const INVOCATIONS = 128u;
const LANES = 8u;
const PIECE = 256u;
const PIECES = 1u;
const WORDS_IN_FLIGHT = 8u;
const SPLITS_IN_FLIGHT = 1u;

@group(0) @binding(0) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> positions: array<i32>;
@group(0) @binding(2) var<storage, read> sequence_ids: array<i32>;
@group(0) @binding(3) var<storage, read> block_table: array<i32>;
@group(0) @binding(4) var<uniform> step: vec4<u32>;
@group(0) @binding(5) var<storage, read> partials: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

// Eight consecutive elements: the unit in which weights and activations are read.
struct Chunk { lo: vec4<f32>, hi: vec4<f32> }

fn chunk_dot(a: Chunk, b: Chunk) -> f32 {
  return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}

fn chunk_scale(a: Chunk, factor: f32) -> Chunk {
  return Chunk(a.lo * factor, a.hi * factor);
}

// Weight rows of bf16, a multiple of 8 long, bound as array<vec4<u32>>.
alias w_Word = vec4<u32>;

fn w_fetch(row: u32, word: u32) -> w_Word {
  return w[(row - w_FIRST_ROW) * (w_COLUMNS / 8u) + word];
}

fn w_unpack(word: w_Word, chunk: u32) -> Chunk {
  let even = bitcast<vec4<f32>>(word << vec4(16u));
  let odd = bitcast<vec4<f32>>(word & vec4(0xffff0000u));
  return Chunk(vec4(even.x, odd.x, even.y, odd.y), vec4(even.z, odd.z, even.w, odd.w));
}

fn w_dot(word: w_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(w_unpack(word, chunk), x);
}

// Where the cache holds a position: row of [pages · KV_HEADS · PAGE] rows of D numbers.
fn cache_row(sequence: u32, position: u32, kv_head: u32) -> u32 {
  let page = u32(block_table[sequence * step.w + position / PAGE]);
  return (page * KV_HEADS + kv_head) * PAGE + position % PAGE;
}

// Position of the first token that the one at `position` sees.
fn first_seen(position: u32) -> u32 {
  return select(0u, position + 1u - min(WINDOW, position + 1u), WINDOW > 0u);
}

// Tokens of a step that has this one. Mesa's software adapter compiles a shader anew in every dispatch where
// a loop ends at a number of a uniform buffer alone; this one depends on the invocation too.
fn step_tokens(token: u32) -> u32 {
  return max(step.x, token + 1u);
}

// Whether a token is one of at least LONG_RUN neighbours of the same sequence: those are attended
// to in tiles of queries, all others one by one. A step of one sequence has long runs only.
fn in_long_run(token: u32) -> bool {
  if (step.z == 1u) {
    return true;
  }
  let sequence = sequence_ids[token];
  var run = 1u;
  for (var i = token; i > 0u && run < LONG_RUN; i--) {
    if (sequence_ids[i - 1u] != sequence) {
      break;
    }
    run++;
  }
  let end = step_tokens(token);
  for (var i = token + 1u; i < end && run < LONG_RUN; i++) {
    if (sequence_ids[i] != sequence) {
      break;
    }
    run++;
  }
  return run >= LONG_RUN;
}

// How the keys of a context are shared out: to SPLITS workgroups, LEAST_SHARE keys or a multiple each.

fn keys_of_share(context: u32) -> u32 {
  return (context + LEAST_SHARE * SPLITS - 1u) / (LEAST_SHARE * SPLITS) * LEAST_SHARE;
}

// Shares that are not empty.
fn used_splits(context: u32) -> u32 {
  let keys = keys_of_share(context);
  return (context + keys - 1u) / keys;
}

// Every sequence keeps the absorbed form.
fn is_expanded(token: u32) -> bool {
  return false;
}

fn store_query(token: u32, head: u32, index: u32) {
}

// Sums over the LANES neighbouring invocations of a subgroup; every one of them gets the sum. A
// butterfly of shuffles works for any subgroup of at least LANES invocations, in a fixed order.
fn lane_sum(value: vec4<f32>, index: u32) -> vec4<f32> {
  var sum = value;
  for (var reach = LANES / 2u; reach > 0u; reach >>= 1u) {
    sum += subgroupShuffleXor(sum, reach);
  }
  return sum;
}

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
