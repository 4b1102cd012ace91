const w_COLUMNS = 2048u;
const w_CHUNKS = 1u;
const w_WORDS = 256u;
const w_FIRST_ROW = 0u;
const w_BODY = 256u;
const x_COLUMNS = 2048u;
const norm_COLUMNS = 2048u;
const INVOCATIONS = 32u;
const ROWS = 4u;
const COLUMNS = 8u;
const UNROLL = 1u;
const SQUARES = 32u;
const SUMS = 40u;
const NORM = true;
const N = 5120u;
const N_FIRST = 0u;
const N_END = 5120u;
const EPS = 9.999999974752427e-7f;

@group(0) @binding(0) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<uniform> step: vec4<u32>;
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
  return bias[i];
}

fn residual_at(i: u32) -> f32 {
  return residual[i];
}

fn columns_of_step() -> u32 {
  return step.x;
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

// y[c, n] = (rms_norm(x)[c] · w[n] + bias[n]) + residual[c, n] for few rows c of x.
//
// w        [N, K] in any weight format; read once for every COLUMNS rows of x
// x        [columns, K] f32; norm_weight [K] f32 with NORM
// y        [columns, N] f32
//
// A workgroup owns ROWS rows of w and COLUMNS rows of x (columns of the product); its INVOCATIONS
// invocations share the words of the rows. The norm costs no pass of its own: Σ w·(x·n) and Σ x²
// come from the same reading of x, and 1/rms multiplies the finished sum.
//
// This dispatch has the rows N_FIRST to N_END - 1 of w.

@compute @workgroup_size(INVOCATIONS)
fn main(
  invocation: Invocation,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let first = N_FIRST + (group.x + group.y * groups.x) * ROWS;
  let first_column = group.z * COLUMNS;
  let columns = columns_of_step();
  if (first >= N_END || first_column >= columns) {
    return;
  }
  w_multiply(first, N_END, first_column, columns, 0u, invocation);
  sum_join(invocation);
  for (var i = invocation.index; i < COLUMNS * ROWS; i += INVOCATIONS) {
    let row = first + i % ROWS;
    let column = first_column + i / ROWS;
    if (row < N_END && column < columns) {
      var total = sum_result(i, invocation);
      if (NORM) {
        total *= inverseSqrt(sum_result(SQUARES + i / ROWS, invocation) / f32(w_COLUMNS) + EPS);
      }
      let at = column * N + row;
      y[at] = total + bias_at(row) + residual_at(at);
    }
  }
}
