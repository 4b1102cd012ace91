const w_COLUMNS = 512u;
const w_CHUNKS = 1u;
const w_WORDS = 64u;
const w_FIRST_ROW = 0u;
const x_COLUMNS = 512u;
const INVOCATIONS = 256u;
const INVOCATIONS_M = 16u;
const INVOCATIONS_N = 16u;
const QUADS_M = 2u;
const QUADS_N = 2u;
const TILE_M = 128u;
const TILE_N = 128u;
const TILE_K = 16u;
const LOADS_X = 1u;
const LOADS_W = 1u;
const WORDS_REST = false;
const STEPS = 32u;
const K_TAIL = false;
const N = 8960u;
const N_FIRST = 0u;
const N_END = 8960u;
const HEADS = 20u;
const NOPE = 192u;
const KEY = 256u;
const VALUE = 256u;

@group(0) @binding(0) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> stretch: array<u32>;
@group(0) @binding(3) var<storage, read_write> expanded_keys: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> expanded_values: array<vec4<f32>>;

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

// A stretch: those of the tokens in order whose keys and values are there at a time. Which of them it is
// stands in a buffer, so that all stretches have one shader.
fn stretch_first() -> u32 {
  return stretch[0];
}

fn stretch_rows() -> u32 {
  return stretch[1];
}

fn rows_of_step() -> u32 {
  return stretch_rows();
}

fn stored_quad(x: vec4<f32>) -> vec4<f32> {
  return x;
}

// Four results of a token's latent times w, whose rows are the key and the value of one head after
// another: to the first NOPE of KEY numbers of a key, and to a value.
fn store_quad(row: u32, column: u32, sum: vec4<f32>) {
  let head = row * HEADS + column / (NOPE + VALUE);
  let i = column % (NOPE + VALUE);
  if (i < NOPE) {
    expanded_keys[(head * KEY + i) / 4u] = stored_quad(sum);
  } else {
    expanded_values[(head * VALUE + i - NOPE) / 4u] = stored_quad(sum);
  }
}

// y[m, n] = finish(x[m] · w[n] + bias[n]) + residual[m, n] for many rows m.
//
// x [rows, K] f32, w [N, K] in any weight format, y [rows, N] f32
//
// A workgroup of INVOCATIONS_M x INVOCATIONS_N invocations owns a tile of TILE_M x TILE_N results
// and walks K in steps of TILE_K. Both operands lie in workgroup memory with K outermost, so an
// invocation reads its four rows, and its four columns, as one vec4. Its QUADS_M x QUADS_N blocks
// of 4 x 4 results are INVOCATIONS_M or INVOCATIONS_N quads apart, which keeps neighbouring
// invocations in neighbouring banks. The next tile is loaded into registers while this one is
// multiplied. On an H100 128 x 128 x 16 with the inner loop written out reaches 64 % of the f32
// peak.
//
// LOADS_X and LOADS_W are the chunks and words that an invocation stages; with WORDS_REST the last
// words go to some invocations only. STEPS are those of K; K_TAIL says that K is no multiple of
// TILE_K. This dispatch has the rows N_FIRST to N_END - 1 of w.

const CHUNKS_K = TILE_K / 8u;
const WORDS_K = CHUNKS_K / w_CHUNKS;
const STRIDE_X = TILE_M / 4u;
const STRIDE_W = TILE_N / 4u;

var<workgroup> tile_x: array<vec4<f32>, TILE_K * STRIDE_X>;
var<workgroup> tile_w: array<vec4<f32>, TILE_K * STRIDE_W>;

fn stage_x(k: u32, row: u32, chunk: Chunk) {
  let at = k * STRIDE_X + row / 4u;
  let component = row % 4u;
  tile_x[at][component] = chunk.lo.x;
  tile_x[at + STRIDE_X][component] = chunk.lo.y;
  tile_x[at + 2u * STRIDE_X][component] = chunk.lo.z;
  tile_x[at + 3u * STRIDE_X][component] = chunk.lo.w;
  tile_x[at + 4u * STRIDE_X][component] = chunk.hi.x;
  tile_x[at + 5u * STRIDE_X][component] = chunk.hi.y;
  tile_x[at + 6u * STRIDE_X][component] = chunk.hi.z;
  tile_x[at + 7u * STRIDE_X][component] = chunk.hi.w;
}

fn stage_w(k: u32, row: u32, chunk: Chunk) {
  let at = k * STRIDE_W + row / 4u;
  let component = row % 4u;
  tile_w[at][component] = chunk.lo.x;
  tile_w[at + STRIDE_W][component] = chunk.lo.y;
  tile_w[at + 2u * STRIDE_W][component] = chunk.lo.z;
  tile_w[at + 3u * STRIDE_W][component] = chunk.lo.w;
  tile_w[at + 4u * STRIDE_W][component] = chunk.hi.x;
  tile_w[at + 5u * STRIDE_W][component] = chunk.hi.y;
  tile_w[at + 6u * STRIDE_W][component] = chunk.hi.z;
  tile_w[at + 7u * STRIDE_W][component] = chunk.hi.w;
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

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let rows = rows_of_step();
  let first_m = group.y * TILE_M;
  let first_n = N_FIRST + group.x * TILE_N;
  if (first_m >= rows) {
    return;
  }
  let index_n = index % INVOCATIONS_N;
  let index_m = index / INVOCATIONS_N;
  //@repeat i LOADS_X
  let x_row_$i = min(first_m + (index + $i * INVOCATIONS) / CHUNKS_K, rows - 1u);
  let x_k_$i = (index + $i * INVOCATIONS) % CHUNKS_K;
  var x_next_$i = load_x(x_row_$i, x_k_$i);
  //@end
  //@repeat i LOADS_W
  let w_row_$i = min(first_n + (index + $i * INVOCATIONS) / WORDS_K, N_END - 1u);
  let w_k_$i = (index + $i * INVOCATIONS) % WORDS_K;
  var w_next_$i = load_w(w_row_$i, w_k_$i);
  //@end
  //@repeat a QUADS_M
  //@repeat b QUADS_N
  var sum_$a_0_$b = vec4<f32>();
  var sum_$a_1_$b = vec4<f32>();
  var sum_$a_2_$b = vec4<f32>();
  var sum_$a_3_$b = vec4<f32>();
  //@end
  //@end

  for (var step_k = 0u; step_k < STEPS; step_k++) {
    //@repeat i LOADS_X
    stage_x(x_k_$i * 8u, (index + $i * INVOCATIONS) / CHUNKS_K, x_next_$i);
    //@end
    //@repeat i LOADS_W
    if (!WORDS_REST || index + $i * INVOCATIONS < TILE_N * WORDS_K) {
      //@repeat p w_CHUNKS
      stage_w(
        (w_k_$i * w_CHUNKS + $p) * 8u,
        (index + $i * INVOCATIONS) / WORDS_K,
        w_unpack(w_next_$i, $p),
      );
      //@end
    }
    //@end
    workgroupBarrier();
    if (step_k + 1u < STEPS) {
      //@repeat i LOADS_X
      x_next_$i = load_x(x_row_$i, (step_k + 1u) * CHUNKS_K + x_k_$i);
      //@end
      //@repeat i LOADS_W
      w_next_$i = load_w(w_row_$i, (step_k + 1u) * WORDS_K + w_k_$i);
      //@end
    }
    //@repeat k TILE_K
    {
      //@repeat a QUADS_M
      let x_$a = tile_x[$k * STRIDE_X + index_m + $a * INVOCATIONS_M];
      //@end
      //@repeat b QUADS_N
      let w_$b = tile_w[$k * STRIDE_W + index_n + $b * INVOCATIONS_N];
      //@end
      //@repeat a QUADS_M
      //@repeat b QUADS_N
      sum_$a_0_$b = fma(vec4(x_$a.x), w_$b, sum_$a_0_$b);
      sum_$a_1_$b = fma(vec4(x_$a.y), w_$b, sum_$a_1_$b);
      sum_$a_2_$b = fma(vec4(x_$a.z), w_$b, sum_$a_2_$b);
      sum_$a_3_$b = fma(vec4(x_$a.w), w_$b, sum_$a_3_$b);
      //@end
      //@end
    }
    //@end
    workgroupBarrier();
  }

  //@repeat a QUADS_M
  //@repeat s 4
  {
    let row = first_m + (index_m + $a * INVOCATIONS_M) * 4u + $s;
    if (row < rows) {
      //@repeat b QUADS_N
      {
        let column = first_n + (index_n + $b * INVOCATIONS_N) * 4u;
        if (column < N_END) {
          store_quad(row, column, sum_$a_$s_$b);
        }
      }
      //@end
    }
  }
  //@end
  //@end
}
