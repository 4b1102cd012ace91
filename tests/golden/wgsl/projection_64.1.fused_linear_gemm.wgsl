const w_COLUMNS = 2048u;
const w_PARTS = 1u;
const w_WORDS = 256u;
const w_FIRST_ROW = 0u;
const x_COLUMNS = 2048u;
const THREADS = 64u;
const THREADS_M = 4u;
const THREADS_N = 16u;
const QUADS_M = 1u;
const QUADS_N = 1u;
const TILE_M = 16u;
const TILE_N = 64u;
const TILE_K = 32u;
const LOADS_X = 1u;
const LOADS_W = 4u;
const WORDS_REST = false;
const STEPS = 64u;
const K_TAIL = false;
const N = 5120u;
const N_FIRST = 0u;
const N_END = 5120u;

@group(0) @binding(0) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> step: vec4<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

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

fn w_unpack(word: w_Word, part: u32) -> Chunk {
  let even = bitcast<vec4<f32>>(word << vec4(16u));
  let odd = bitcast<vec4<f32>>(word & vec4(0xffff0000u));
  return Chunk(vec4(even.x, odd.x, even.y, odd.y), vec4(even.z, odd.z, even.w, odd.w));
}

fn w_dot(word: w_Word, part: u32, x: Chunk) -> f32 {
  return chunk_dot(w_unpack(word, part), x);
}

// Rows of f32 activations, a multiple of 8 long, bound as array<vec4<f32>>.
fn x_chunk(row: u32, chunk: u32) -> Chunk {
  let at = row * (x_COLUMNS / 4u) + chunk * 2u;
  return Chunk(x[at], x[at + 1u]);
}

// An operand that is added, bound as array<vec4<f32>>.
fn bias_quad(i: u32) -> vec4<f32> {
  return bias[i / 4u];
}

// An operand that is added, bound as array<vec4<f32>>.
fn residual_quad(i: u32) -> vec4<f32> {
  return residual[i / 4u];
}

fn finish_quad(sum: vec4<f32>, at: u32) -> vec4<f32> {
  return sum;
}

fn rows_of_step() -> u32 {
  return step.x;
}

// Four results of one row; N is a multiple of 4.
fn store_quad(row: u32, column: u32, sum: vec4<f32>) {
  let at = row * N + column;
  y[at / 4u] = finish_quad(sum + bias_quad(column), at) + residual_quad(at);
}

// y[m, n] = finish(x[m] · w[n] + bias[n]) + residual[m, n] for many rows m.
//
// x [rows, K] f32, w [N, K] in any weight format, y [rows, N] f32
//
// A workgroup of THREADS_M x THREADS_N threads owns a tile of TILE_M x TILE_N results and walks K
// in steps of TILE_K. Both operands lie in shared memory with K outermost, so a thread reads its
// four rows, and its four columns, as one vec4. Its QUADS_M x QUADS_N blocks of 4 x 4 results are
// THREADS_M or THREADS_N quads apart, which keeps neighbouring threads in neighbouring banks. The
// next tile is loaded into registers while this one is multiplied. On an H100 128 x 128 x 16 with
// the inner loop written out reaches 64 % of the f32 peak.
//
// Prelude: THREADS, THREADS_M, THREADS_N, QUADS_M, QUADS_N, TILE_M, TILE_N, TILE_K, LOADS_X,
// LOADS_W (chunks and words that a thread stages), WORDS_REST (the last words go to some threads
// only), STEPS (of K), K_TAIL (K is no multiple of
// TILE_K), N, N_FIRST, N_END (rows of w in this dispatch), rows_of_step().
// Fragments: w_*, x_chunk, store_quad, finish_quad, bias_quad, residual_quad.

const CHUNKS_K = TILE_K / 8u;
const WORDS_K = CHUNKS_K / w_PARTS;
const STRIDE_X = TILE_M / 4u;
const STRIDE_W = TILE_N / 4u;

var<workgroup> tile_x: array<vec4<f32>, TILE_K * STRIDE_X>;
var<workgroup> tile_w: array<vec4<f32>, TILE_K * STRIDE_W>;

fn put_x(k: u32, row: u32, chunk: Chunk) {
  let at = k * STRIDE_X + row / 4u;
  let lane = row % 4u;
  tile_x[at][lane] = chunk.lo.x;
  tile_x[at + STRIDE_X][lane] = chunk.lo.y;
  tile_x[at + 2u * STRIDE_X][lane] = chunk.lo.z;
  tile_x[at + 3u * STRIDE_X][lane] = chunk.lo.w;
  tile_x[at + 4u * STRIDE_X][lane] = chunk.hi.x;
  tile_x[at + 5u * STRIDE_X][lane] = chunk.hi.y;
  tile_x[at + 6u * STRIDE_X][lane] = chunk.hi.z;
  tile_x[at + 7u * STRIDE_X][lane] = chunk.hi.w;
}

fn put_w(k: u32, row: u32, chunk: Chunk) {
  let at = k * STRIDE_W + row / 4u;
  let lane = row % 4u;
  tile_w[at][lane] = chunk.lo.x;
  tile_w[at + STRIDE_W][lane] = chunk.lo.y;
  tile_w[at + 2u * STRIDE_W][lane] = chunk.lo.z;
  tile_w[at + 3u * STRIDE_W][lane] = chunk.lo.w;
  tile_w[at + 4u * STRIDE_W][lane] = chunk.hi.x;
  tile_w[at + 5u * STRIDE_W][lane] = chunk.hi.y;
  tile_w[at + 6u * STRIDE_W][lane] = chunk.hi.z;
  tile_w[at + 7u * STRIDE_W][lane] = chunk.hi.w;
}

// A chunk of x; zeros behind the end of K, so that what w holds there does not count.
fn load_x(row: u32, chunk: u32) -> Chunk {
  if (K_TAIL && chunk * 8u >= w_COLUMNS) {
    return Chunk(vec4<f32>(), vec4<f32>());
  }
  return x_chunk(row, chunk);
}

fn load_w(row: u32, word: u32) -> w_Word {
  if (K_TAIL) {
    return w_fetch(row, min(word, w_WORDS - 1u));
  }
  return w_fetch(row, word);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let rows = rows_of_step();
  let first_m = group.y * TILE_M;
  let first_n = N_FIRST + group.x * TILE_N;
  if (first_m >= rows) {
    return;
  }
  let thread_n = thread % THREADS_N;
  let thread_m = thread / THREADS_N;
  let x_row_0 = min(first_m + (thread + 0 * THREADS) / CHUNKS_K, rows - 1u);
  let x_k_0 = (thread + 0 * THREADS) % CHUNKS_K;
  var x_next_0 = load_x(x_row_0, x_k_0);
  let w_row_0 = min(first_n + (thread + 0 * THREADS) / WORDS_K, N_END - 1u);
  let w_k_0 = (thread + 0 * THREADS) % WORDS_K;
  var w_next_0 = load_w(w_row_0, w_k_0);
  let w_row_1 = min(first_n + (thread + 1 * THREADS) / WORDS_K, N_END - 1u);
  let w_k_1 = (thread + 1 * THREADS) % WORDS_K;
  var w_next_1 = load_w(w_row_1, w_k_1);
  let w_row_2 = min(first_n + (thread + 2 * THREADS) / WORDS_K, N_END - 1u);
  let w_k_2 = (thread + 2 * THREADS) % WORDS_K;
  var w_next_2 = load_w(w_row_2, w_k_2);
  let w_row_3 = min(first_n + (thread + 3 * THREADS) / WORDS_K, N_END - 1u);
  let w_k_3 = (thread + 3 * THREADS) % WORDS_K;
  var w_next_3 = load_w(w_row_3, w_k_3);
  var sum_0_0_0 = vec4<f32>();
  var sum_0_1_0 = vec4<f32>();
  var sum_0_2_0 = vec4<f32>();
  var sum_0_3_0 = vec4<f32>();

  for (var step_k = 0u; step_k < STEPS; step_k++) {
    put_x(x_k_0 * 8u, (thread + 0 * THREADS) / CHUNKS_K, x_next_0);
    if (!WORDS_REST || thread + 0 * THREADS < TILE_N * WORDS_K) {
      put_w(
        (w_k_0 * w_PARTS + 0) * 8u,
        (thread + 0 * THREADS) / WORDS_K,
        w_unpack(w_next_0, 0),
      );
    }
    if (!WORDS_REST || thread + 1 * THREADS < TILE_N * WORDS_K) {
      put_w(
        (w_k_1 * w_PARTS + 0) * 8u,
        (thread + 1 * THREADS) / WORDS_K,
        w_unpack(w_next_1, 0),
      );
    }
    if (!WORDS_REST || thread + 2 * THREADS < TILE_N * WORDS_K) {
      put_w(
        (w_k_2 * w_PARTS + 0) * 8u,
        (thread + 2 * THREADS) / WORDS_K,
        w_unpack(w_next_2, 0),
      );
    }
    if (!WORDS_REST || thread + 3 * THREADS < TILE_N * WORDS_K) {
      put_w(
        (w_k_3 * w_PARTS + 0) * 8u,
        (thread + 3 * THREADS) / WORDS_K,
        w_unpack(w_next_3, 0),
      );
    }
    workgroupBarrier();
    if (step_k + 1u < STEPS) {
      x_next_0 = load_x(x_row_0, (step_k + 1u) * CHUNKS_K + x_k_0);
      w_next_0 = load_w(w_row_0, (step_k + 1u) * WORDS_K + w_k_0);
      w_next_1 = load_w(w_row_1, (step_k + 1u) * WORDS_K + w_k_1);
      w_next_2 = load_w(w_row_2, (step_k + 1u) * WORDS_K + w_k_2);
      w_next_3 = load_w(w_row_3, (step_k + 1u) * WORDS_K + w_k_3);
    }
    {
      let x_0 = tile_x[0 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[0 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[1 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[1 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[2 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[2 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[3 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[3 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[4 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[4 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[5 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[5 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[6 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[6 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[7 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[7 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[8 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[8 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[9 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[9 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[10 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[10 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[11 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[11 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[12 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[12 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[13 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[13 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[14 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[14 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[15 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[15 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[16 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[16 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[17 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[17 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[18 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[18 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[19 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[19 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[20 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[20 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[21 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[21 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[22 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[22 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[23 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[23 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[24 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[24 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[25 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[25 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[26 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[26 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[27 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[27 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[28 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[28 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[29 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[29 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[30 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[30 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    {
      let x_0 = tile_x[31 * STRIDE_X + thread_m + 0 * THREADS_M];
      let w_0 = tile_w[31 * STRIDE_W + thread_n + 0 * THREADS_N];
      sum_0_0_0 = fma(vec4(x_0.x), w_0, sum_0_0_0);
      sum_0_1_0 = fma(vec4(x_0.y), w_0, sum_0_1_0);
      sum_0_2_0 = fma(vec4(x_0.z), w_0, sum_0_2_0);
      sum_0_3_0 = fma(vec4(x_0.w), w_0, sum_0_3_0);
    }
    workgroupBarrier();
  }

  {
    let row = first_m + (thread_m + 0 * THREADS_M) * 4u + 0;
    if (row < rows) {
      {
        let column = first_n + (thread_n + 0 * THREADS_N) * 4u;
        if (column < N_END) {
          store_quad(row, column, sum_0_0_0);
        }
      }
    }
  }
  {
    let row = first_m + (thread_m + 0 * THREADS_M) * 4u + 1;
    if (row < rows) {
      {
        let column = first_n + (thread_n + 0 * THREADS_N) * 4u;
        if (column < N_END) {
          store_quad(row, column, sum_0_1_0);
        }
      }
    }
  }
  {
    let row = first_m + (thread_m + 0 * THREADS_M) * 4u + 2;
    if (row < rows) {
      {
        let column = first_n + (thread_n + 0 * THREADS_N) * 4u;
        if (column < N_END) {
          store_quad(row, column, sum_0_2_0);
        }
      }
    }
  }
  {
    let row = first_m + (thread_m + 0 * THREADS_M) * 4u + 3;
    if (row < rows) {
      {
        let column = first_n + (thread_n + 0 * THREADS_N) * 4u;
        if (column < N_END) {
          store_quad(row, column, sum_0_3_0);
        }
      }
    }
  }
}
