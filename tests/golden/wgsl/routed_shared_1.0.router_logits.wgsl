const w_COLUMNS = 256u;
const w_CHUNKS = 1u;
const w_WORDS = 32u;
const w_FIRST_ROW = 0u;
const w_BODY = 32u;
const x_COLUMNS = 256u;
const norm_COLUMNS = 256u;
const NORMED_COLUMNS = 64u;
const E = 64u;
const INVOCATIONS = 32u;
const ROWS = 8u;
const COLUMNS = 1u;
const UNROLL = 1u;
const SQUARES = 8u;
const SUMS = 9u;
const NORM = true;
const SHARE = 64u;
const SHARES = 1u;
const EPS = 9.999999974752427e-7f;

@group(0) @binding(0) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> xn: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> logits: array<f32>;
@group(0) @binding(5) var<uniform> step: vec4<u32>;

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
  //@repeat r ROWS
  let row_$r = min(first + $r, end - 1u);
  //@end
  //@repeat c COLUMNS
  let column_$c = min(first_column + $c, columns - 1u);
  var square_$c = 0.0;
  //@repeat r ROWS
  var dot_$c_$r = 0.0;
  //@end
  //@end

  for (var base = 0u; base < w_BODY; base += INVOCATIONS * UNROLL) {
    //@repeat u UNROLL
    let word_$u = base + $u * INVOCATIONS + lane;
    //@repeat r ROWS
    let w_$u_$r = w_fetch(row_$r, word_$u);
    //@end
    //@end
    //@repeat u UNROLL
    //@repeat p w_CHUNKS
    {
      let chunk = word_$u * w_CHUNKS + $p;
      let n = norm_chunk(0u, chunk);
      //@repeat c COLUMNS
      {
        var x = x_chunk(column_$c, chunk);
        if (NORM) {
          square_$c += chunk_dot(x, x);
          x = Chunk(x.lo * n.lo, x.hi * n.hi);
        }
        //@repeat r ROWS
        dot_$c_$r += w_dot(w_$u_$r, $p, x);
        //@end
      }
      //@end
    }
    //@end
    //@end
  }
  for (var word = w_BODY + lane; word < w_WORDS; word += INVOCATIONS) {
    //@repeat r ROWS
    let w_$r = w_fetch(row_$r, word);
    //@end
    //@repeat p w_CHUNKS
    {
      let chunk = word * w_CHUNKS + $p;
      let n = norm_chunk(0u, chunk);
      //@repeat c COLUMNS
      {
        var x = x_chunk(column_$c, chunk);
        if (NORM) {
          square_$c += chunk_dot(x, x);
          x = Chunk(x.lo * n.lo, x.hi * n.hi);
        }
        //@repeat r ROWS
        dot_$c_$r += w_dot(w_$r, $p, x);
        //@end
      }
      //@end
    }
    //@end
  }

  //@repeat c COLUMNS
  //@repeat r ROWS
  sum_share(slot + $c * ROWS + $r, dot_$c_$r, invocation);
  //@end
  if (NORM) {
    sum_share(SQUARES + $c, square_$c, invocation);
  }
  //@end
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

// A router that leaves logits alone: the experts choose from them.
fn put_logit(first_column: u32, column: u32, expert: u32, logit: f32) {
  logits[(first_column + column) * E + expert] = logit;
}

fn finish_tile(tile: u32, first_column: u32, count: u32, invocation: Invocation) {
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
