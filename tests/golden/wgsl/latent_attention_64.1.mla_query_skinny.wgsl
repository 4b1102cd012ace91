const w_COLUMNS = 768u;
const w_CHUNKS = 1u;
const w_WORDS = 96u;
const w_FIRST_ROW = 0u;
const x_COLUMNS = 768u;
const INVOCATIONS = 128u;
const LANES = 8u;
const THREAD_OUTPUTS = 4u;
const BLOCK_ROWS = 16u;
const ROW_QUADS = 4u;
const X_ROUNDS = 1u;
const N = 5120u;
const N_FIRST = 0u;
const N_END = 5120u;
const NORM = false;
const EPS = 0.0f;

@group(0) @binding(0) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> step: vec4<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

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

// Rows of f32 activations, a multiple of 8 long, bound as array<vec4<f32>>.
fn x_chunk(row: u32, chunk: u32) -> Chunk {
  let at = row * (x_COLUMNS / 4u) + chunk * 2u;
  return Chunk(x[at], x[at + 1u]);
}

fn norm_chunk(row: u32, chunk: u32) -> Chunk {
  return Chunk(vec4(1.0f), vec4(1.0f));
}

fn bias_at(i: u32) -> f32 {
  return 0.0f;
}

fn residual_at(i: u32) -> f32 {
  return 0.0f;
}

fn rows_of_step() -> u32 {
  return step.x;
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

// y[m, n] = (rms_norm(x)[m] · w[n] + bias[n]) + residual[m, n] for some tens of rows m.
//
// w [N, K] in any weight format, x [rows, K] f32, y [rows, N] f32
// Grid: block of BLOCK_ROWS rows of x, tile of rows of w; neighbours read the same weights.
//
// Each weight goes straight from memory to the one invocation that needs it. LANES invocations share
// the depth of THREAD_OUTPUTS weight rows and hold sums for all rows of the block, which are staged
// in workgroup memory with the weight of the norm on them. The next words and rows are on their way
// while the current ones are multiplied. Whoever stages a piece of x adds up its squares: 1/rms
// multiplies the finished sum, so that the norm takes no pass of its own.
//
// X_ROUNDS are the chunks of x that an invocation stages of each tile. This dispatch has the rows
// N_FIRST to N_END - 1 of w.

const TILE_CHUNKS = LANES * w_CHUNKS;
const K_CHUNKS = w_WORDS * w_CHUNKS;
const K_TILES = (w_WORDS + LANES - 1u) / LANES;
// A word behind the end of a weight row counts as zeros: its rows are zeros too, but 0 · ∞ is not.
const HAS_TAIL = w_WORDS % LANES != 0u;
const HALVES = w_CHUNKS * 2u;

// Of two tiles one is read while the other is written, so a tile takes one barrier. Halves of
// chunks lie apart, so that the vectors that lanes read together are neighbours.
var<workgroup> x_tile: array<array<array<array<vec4<f32>, LANES>, HALVES>, BLOCK_ROWS>, 2>;
var<workgroup> squares: array<array<f32, TILE_CHUNKS>, BLOCK_ROWS>;

fn staged_x(row: u32, chunk: u32) -> Chunk {
  if (chunk < K_CHUNKS) {
    return x_chunk(row, chunk);
  }
  return Chunk();
}

fn staged_norm(chunk: u32) -> Chunk {
  return norm_chunk(0u, min(chunk, K_CHUNKS - 1u));
}

fn half_of(chunk: Chunk, half: u32) -> vec4<f32> {
  if (half == 0u) {
    return chunk.lo;
  }
  return chunk.hi;
}

fn inverse_rms(row: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < TILE_CHUNKS; i++) {
    sum += squares[row][i];
  }
  return inverseSqrt(sum / f32(w_COLUMNS) + EPS);
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let rows = rows_of_step();
  let first_row = group.x * BLOCK_ROWS;
  if (first_row >= rows) {
    return;
  }
  let lane = index % LANES;
  let first_output = N_FIRST + (group.y * (INVOCATIONS / LANES) + index / LANES) * THREAD_OUTPUTS;

  //@repeat i X_ROUNDS
  let x_at_$i = (index + $i * INVOCATIONS) / TILE_CHUNKS;
  let x_piece_$i = (index + $i * INVOCATIONS) % TILE_CHUNKS;
  let x_row_$i = min(first_row + x_at_$i, rows - 1u);
  var x_$i = staged_x(x_row_$i, x_piece_$i);
  var n_$i = staged_norm(x_piece_$i);
  var square_$i = 0.0;
  //@end
  //@repeat o THREAD_OUTPUTS
  let source_$o = min(first_output + $o, N_END - 1u);
  var w_$o: w_Word;
  if (lane < w_WORDS) {
    w_$o = w_fetch(source_$o, lane);
  }
  //@repeat q ROW_QUADS
  var sum_$o_$q = vec4<f32>();
  //@end
  //@end

  for (var k = 0u; k < K_TILES; k++) {
    let side = k % 2u;
    //@repeat i X_ROUNDS
    if (x_at_$i < BLOCK_ROWS) {
      let half = x_piece_$i % w_CHUNKS * 2u;
      x_tile[side][x_at_$i][half][x_piece_$i / w_CHUNKS] = x_$i.lo * n_$i.lo;
      x_tile[side][x_at_$i][half + 1u][x_piece_$i / w_CHUNKS] = x_$i.hi * n_$i.hi;
      if (NORM) {
        square_$i += chunk_dot(x_$i, x_$i);
      }
    }
    //@end
    workgroupBarrier();
    if (k + 1u < K_TILES) {
      //@repeat i X_ROUNDS
      x_$i = staged_x(x_row_$i, (k + 1u) * TILE_CHUNKS + x_piece_$i);
      n_$i = staged_norm((k + 1u) * TILE_CHUNKS + x_piece_$i);
      //@end
    }
    //@repeat o THREAD_OUTPUTS
    let now_$o = w_$o;
    //@end
    let word = (k + 1u) * LANES + lane;
    if (word < w_WORDS) {
      //@repeat o THREAD_OUTPUTS
      w_$o = w_fetch(source_$o, word);
      //@end
    } else if (HAS_TAIL) {
      //@repeat o THREAD_OUTPUTS
      w_$o = w_Word();
      //@end
    }
    //@repeat p w_CHUNKS
    //@repeat h 2
    {
      //@repeat q ROW_QUADS
      //@repeat r 4
      let x_$q_$r = x_tile[side][$q * 4u + $r][$p * 2u + $h][lane];
      //@end
      let a_$q = vec4(x_$q_0.x, x_$q_1.x, x_$q_2.x, x_$q_3.x);
      let b_$q = vec4(x_$q_0.y, x_$q_1.y, x_$q_2.y, x_$q_3.y);
      let c_$q = vec4(x_$q_0.z, x_$q_1.z, x_$q_2.z, x_$q_3.z);
      let d_$q = vec4(x_$q_0.w, x_$q_1.w, x_$q_2.w, x_$q_3.w);
      //@end
      //@repeat o THREAD_OUTPUTS
      {
        let factor = half_of(w_unpack(now_$o, $p), $h);
        //@repeat q ROW_QUADS
        sum_$o_$q = fma(a_$q, vec4(factor.x), sum_$o_$q);
        sum_$o_$q = fma(b_$q, vec4(factor.y), sum_$o_$q);
        sum_$o_$q = fma(c_$q, vec4(factor.z), sum_$o_$q);
        sum_$o_$q = fma(d_$q, vec4(factor.w), sum_$o_$q);
        //@end
      }
      //@end
    }
    //@end
    //@end
  }
  if (NORM) {
    //@repeat i X_ROUNDS
    if (x_at_$i < BLOCK_ROWS) {
      squares[x_at_$i][x_piece_$i] = square_$i;
    }
    //@end
    workgroupBarrier();
  }

  // Lane r finishes row r of each four.
  //@repeat q ROW_QUADS
  {
    //@repeat o THREAD_OUTPUTS
    let total_$o = lane_sum(sum_$o_$q, index);
    //@end
    let r = lane % 4u;
    let row = first_row + $q * 4u + r;
    if (lane < 4u && row < rows) {
      var factor = 1.0;
      if (NORM) {
        factor = inverse_rms($q * 4u + r);
      }
      //@repeat o THREAD_OUTPUTS
      if (first_output + $o < N_END) {
        let at = row * N + first_output + $o;
        y[at] = total_$o[r] * factor + bias_at(first_output + $o) + residual_at(at);
      }
      //@end
    }
  }
  //@end
}
