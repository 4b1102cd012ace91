const w_COLUMNS = 2048u;
const w_CHUNKS = 1u;
const w_WORDS = 256u;
const w_FIRST_ROW = 0u;
const w_BODY = 256u;
const x_COLUMNS = 2048u;
const norm_COLUMNS = 2048u;
const NORMED_COLUMNS = 512u;
const E = 128u;
const SIGMOID = false;
const OVER_ALL = true;
const RENORMALIZE = true;
const SCALE = 1.0f;
const LOWEST = -3.4028234663852886e+38f;
const TOP_K = 8u;
const TICKET = true;
const INVOCATIONS = 128u;
const ROWS = 1u;
const COLUMNS = 1u;
const UNROLL = 2u;
const SQUARES = 1u;
const SUMS = 2u;
const NORM = true;
const SHARE = 1u;
const SHARES = 128u;
const EPS = 9.999999974752427e-7f;

@group(0) @binding(0) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> xn: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> selected: array<i32>;
@group(0) @binding(5) var<storage, read_write> routing_weights: array<f32>;
@group(0) @binding(6) var<uniform> step: vec4<u32>;
@group(0) @binding(7) var<storage, read_write> partials: array<atomic<u32>>;
@group(0) @binding(8) var<storage, read_write> tickets: array<atomic<u32>>;

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

// Products of ROWS rows of a weight with COLUMNS rows of x, by all invocations of a workgroup.
//
// Puts them into the slots from `slot` on, column by column, and with NORM Σ x² of column c into
// slot SQUARES + c; the caller meets and gets. Rows behind `end` and columns behind `columns` are
// computed from the last valid ones. A lane has UNROLL words of each row in flight; the first
// w_BODY words of a row go that way, the rest one by one.
fn w_multiply(
  first: u32,
  end: u32,
  first_column: u32,
  columns: u32,
  slot: u32,
  invocation: Invocation,
) {
  let lane = invocation.index;
  let row_0 = min(first + 0, end - 1u);
  let column_0 = min(first_column + 0, columns - 1u);
  var square_0 = 0.0;
  var dot_0_0 = 0.0;

  for (var base = 0u; base < w_BODY; base += INVOCATIONS * UNROLL) {
    let word_0 = base + 0 * INVOCATIONS + lane;
    let w_0_0 = w_fetch(row_0, word_0);
    let word_1 = base + 1 * INVOCATIONS + lane;
    let w_1_0 = w_fetch(row_0, word_1);
    {
      let chunk = word_0 * w_CHUNKS + 0;
      let n = norm_chunk(0u, chunk);
      {
        var x = x_chunk(column_0, chunk);
        if (NORM) {
          square_0 += chunk_dot(x, x);
          x = Chunk(x.lo * n.lo, x.hi * n.hi);
        }
        dot_0_0 += w_dot(w_0_0, 0, x);
      }
    }
    {
      let chunk = word_1 * w_CHUNKS + 0;
      let n = norm_chunk(0u, chunk);
      {
        var x = x_chunk(column_0, chunk);
        if (NORM) {
          square_0 += chunk_dot(x, x);
          x = Chunk(x.lo * n.lo, x.hi * n.hi);
        }
        dot_0_0 += w_dot(w_1_0, 0, x);
      }
    }
  }
  for (var word = w_BODY + lane; word < w_WORDS; word += INVOCATIONS) {
    let w_0 = w_fetch(row_0, word);
    {
      let chunk = word * w_CHUNKS + 0;
      let n = norm_chunk(0u, chunk);
      {
        var x = x_chunk(column_0, chunk);
        if (NORM) {
          square_0 += chunk_dot(x, x);
          x = Chunk(x.lo * n.lo, x.hi * n.hi);
        }
        dot_0_0 += w_dot(w_0, 0, x);
      }
    }
  }

  sum_share(slot + 0 * ROWS + 0, dot_0_0, invocation);
  if (NORM) {
    sum_share(SQUARES + 0, square_0, invocation);
  }
}

// Rows of f32 activations, a multiple of 8 long, bound as array<vec4<f32>>.
fn x_chunk(row: u32, chunk: u32) -> Chunk {
  let at = row * (x_COLUMNS / 4u) + chunk * 2u;
  return Chunk(x[at], x[at + 1u]);
}

// Rows of f32 activations, a multiple of 8 long, bound as array<vec4<f32>>.
fn norm_chunk(row: u32, chunk: u32) -> Chunk {
  let at = row * (norm_COLUMNS / 4u) + chunk * 2u;
  return Chunk(norm[at], norm[at + 1u]);
}

fn bias_at(i: u32) -> f32 {
  return 0.0f;
}

fn write_normed(at: u32, i: u32, scale: f32) {
  xn[at] = x[at] * scale * norm[i];
}

// Chooses the experts of up to COLUMNS tokens from their logits in workgroup memory.
//
// An expert's rank is the number of experts before it: those with a larger score, and those with
// the same score and a smaller id. All ranks are counted at once, without a barrier between
// choices.
const QUADS = (E + 3u) / 4u;

var<workgroup> scores: array<vec4<f32>, COLUMNS * QUADS>;
var<workgroup> chosen: array<u32, COLUMNS * TOP_K>;
var<workgroup> best: array<f32, COLUMNS * TOP_K>;

// Keeps a logit of a token of this workgroup.
fn set_logit(column: u32, expert: u32, logit: f32) {
  scores[column * QUADS + expert / 4u][expert % 4u] = score_of_logit(logit);
}

fn score_of(column: u32, expert: u32) -> f32 {
  return scores[column * QUADS + expert / 4u][expert % 4u];
}

fn rank_of(column: u32, expert: u32, score: f32) -> u32 {
  var rank = vec4<u32>();
  for (var quad = 0u; quad < QUADS; quad++) {
    let other = scores[column * QUADS + quad];
    let ids = vec4(quad * 4u) + vec4(0u, 1u, 2u, 3u);
    let before = (other > vec4(score)) | ((other == vec4(score)) & (ids < vec4(expert)));
    rank += select(vec4(0u), vec4(1u), before & (ids < vec4(E)));
  }
  return rank.x + rank.y + rank.z + rank.w;
}

fn weight_of(column: u32, slot: u32, all: f32) -> f32 {
  return weight_of_score(best[column * TOP_K + slot], best[column * TOP_K], all);
}

// Chooses for `count` neighbouring tokens after their logits are set.
fn choose(first_token: u32, count: u32, invocation: Invocation) {
  for (var i = invocation.index; i < count * E; i += INVOCATIONS) {
    let column = i / E;
    let expert = i % E;
    let score = score_of(column, expert);
    let rank = rank_of(column, expert, score);
    if (rank < TOP_K) {
      chosen[column * TOP_K + rank] = expert;
      best[column * TOP_K + rank] = score;
    }
  }
  workgroupBarrier();
  if (!SIGMOID && OVER_ALL && !RENORMALIZE) {
    {
      var share = 0.0;
      if (0 < count) {
        for (var expert = invocation.index; expert < E; expert += INVOCATIONS) {
          share += exp(score_of(0, expert) - best[0 * TOP_K]);
        }
      }
      sum_share(0, share, invocation);
    }
    sum_join(invocation);
  }
  for (var i = invocation.index; i < count * TOP_K; i += INVOCATIONS) {
    let column = i / TOP_K;
    var all = 1.0;
    if (!SIGMOID && OVER_ALL && !RENORMALIZE) {
      all = sum_result(column, invocation);
    }
    var total = 1.0;
    if (RENORMALIZE || (!SIGMOID && !OVER_ALL)) {
      total = 0.0;
      for (var slot = 0u; slot < TOP_K; slot++) {
        total += weight_of(column, slot, all);
      }
    }
    selected[first_token * TOP_K + i] = i32(chosen[i]);
    routing_weights[first_token * TOP_K + i] = weight_of(column, i % TOP_K, all) / total * SCALE;
  }
}

// A logit by which experts are ranked: what is no number comes last. It is told by its bits, as compilers
// drop `logit == logit` (NVIDIA's does).
fn ranked_logit(logit: f32) -> f32 {
  let is_number = (bitcast<u32>(logit) & 0x7fffffffu) <= 0x7f800000u;
  return select(LOWEST, logit, is_number);
}

// The arithmetic of the plain choice, for the router that chooses and for experts that do.
fn score_of_logit(logit: f32) -> f32 {
  let score = ranked_logit(logit);
  if (SIGMOID) {
    return 1.0 / (1.0 + exp(-score));
  }
  return score;
}

// The weight of a score before the renormalisation; `top` is the best score and `all` the softmax's sum.
fn weight_of_score(score: f32, top: f32, all: f32) -> f32 {
  if (SIGMOID) {
    return score;
  }
  return exp(score - top) / select(1.0, all, OVER_ALL && !RENORMALIZE);
}

// Partial results that the last workgroup to arrive combines. Workgroups see each other's writes
// only through atomics. The one that draws the last ticket puts the count back to zero.
fn store_partial(at: u32, value: f32) {
  atomicStore(&partials[at], bitcast<u32>(value));
}

fn load_partial(at: u32) -> f32 {
  return bitcast<f32>(atomicLoad(&partials[at]));
}

fn take_ticket(i: u32, count: u32) -> u32 {
  let before = atomicAdd(&tickets[i], 1u);
  if (before + 1u == count) {
    atomicStore(&tickets[i], 0u);
  }
  return before;
}

// Brings the logits that other workgroups made into workgroup memory.
fn load_logits(first_column: u32, invocation: Invocation) {
  for (var i = invocation.index; i < COLUMNS * E; i += INVOCATIONS) {
    set_logit(i / E, i % E, load_partial(first_column * E + i));
  }
  workgroupBarrier();
}

// A router that chooses: the last workgroup of a tile to arrive has the logits of all of them. With
// one workgroup to a tile there is nothing to hand over.
var<workgroup> arrived: u32;

fn put_logit(first_column: u32, column: u32, expert: u32, logit: f32) {
  if (SHARES == 1u) {
    set_logit(column, expert, logit);
  } else {
    store_partial((first_column + column) * E + expert, logit);
  }
}

fn finish_tile(tile: u32, first_column: u32, count: u32, invocation: Invocation) {
  if (SHARES > 1u) {
    if (!TICKET) {
      return;
    }
    storageBarrier();
    if (invocation.index == 0u) {
      arrived = take_ticket(tile, SHARES);
    }
    if (workgroupUniformLoad(&arrived) + 1u < SHARES) {
      return;
    }
    storageBarrier();
    load_logits(first_column, invocation);
  }
  choose(first_column, count, invocation);
}

// The invocations of a workgroup, where subgroups may be used. Nothing is assumed about the size of
// subgroups but that they have 8 invocations or more.
const MAX_SUBGROUPS = max(1u, INVOCATIONS / 8u);

struct Invocation {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) in_subgroup: u32,
}

fn add(a: f32, b: f32) -> f32 {
  return a + b;
}

// Combines SUMS numbers over all invocations: every invocation puts its share of each, then
// sum_join (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupAdd is subgroupAdd or subgroupMax, add the same for two numbers.
var<workgroup> sum_shares: array<f32, SUMS * MAX_SUBGROUPS>;

fn sum_share(slot: u32, value: f32, invocation: Invocation) {
  let share = subgroupAdd(value);
  if (invocation.in_subgroup == 0u) {
    sum_shares[invocation.subgroup * SUMS + slot] = share;
  }
}

fn sum_join(invocation: Invocation) {
  workgroupBarrier();
}

fn sum_result(slot: u32, invocation: Invocation) -> f32 {
  var result = sum_shares[slot];
  for (var s = 1u; s < invocation.subgroups; s++) {
    result = add(result, sum_shares[s * SUMS + slot]);
  }
  return result;
}

// Router: scores of all experts for COLUMNS tokens, the TOP_K best of each with their weights (or
// the logits alone, where the experts choose), and with NORM the normed tokens.
//
// x [T, H] f32, w [E, H] in any plain format; selected [T, K] i32, routing_weights [T, K] f32,
// xn [T, H] f32
// Grid: share of the experts, tile of COLUMNS tokens.
//
// Each workgroup takes SHARE experts, ROWS at a time; with very many tokens, or few experts, a
// workgroup takes all experts of its tokens and SHARES is 1.
//
// NORMED_COLUMNS are the vectors or numbers of a normed token, 0 when nobody wants it.

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let first_column = group.y * COLUMNS;
  let columns = step.x;
  let end = min(E, (group.x + 1u) * SHARE);
  for (var first = group.x * SHARE; first < end; first += ROWS) {
    w_multiply(first, end, first_column, columns, 0u, invocation);
    sum_join(invocation);
    for (var i = invocation.index; i < COLUMNS * ROWS; i += INVOCATIONS) {
      let expert = first + i % ROWS;
      if (expert < end) {
        var logit = sum_result(i, invocation);
        if (NORM) {
          logit *= inverse_rms(i / ROWS, invocation);
        }
        logit += bias_at(expert);
        put_logit(first_column, i / ROWS, expert, logit);
      }
    }
    if (NORM && first + ROWS >= end) {
      store_normed(first_column, min(COLUMNS, columns - first_column), group.x, invocation);
    }
    workgroupBarrier();
  }
  finish_tile(group.y, first_column, min(COLUMNS, columns - first_column), invocation);
}

fn inverse_rms(column: u32, invocation: Invocation) -> f32 {
  return inverseSqrt(sum_result(SQUARES + column, invocation) / f32(w_COLUMNS) + EPS);
}

// One share of the normed tokens; the shares of all workgroups make the whole.
const NORMED_SHARE = max(1u, (NORMED_COLUMNS + SHARES - 1u) / SHARES);

fn store_normed(first_column: u32, count: u32, share: u32, invocation: Invocation) {
  for (var i = invocation.index; i < count * NORMED_SHARE; i += INVOCATIONS) {
    let column = i / NORMED_SHARE;
    let at = share * NORMED_SHARE + i % NORMED_SHARE;
    if (at < NORMED_COLUMNS) {
      write_normed((first_column + column) * NORMED_COLUMNS + at, at, inverse_rms(column, invocation));
    }
  }
}
