// y[c, n] = (rms_norm(x)[c] · w[n] + bias[n]) + residual[c, n] for few rows c of x.
//
// w        [N, K] in any weight format; read once for every COLUMNS rows of x
// x        [columns, K] f32; norm_weight [K] f32 with NORM
// y        [columns, N] f32
//
// A workgroup owns ROWS rows of w and COLUMNS rows of x (columns of the product); its THREADS lanes
// share the words of the rows, UNROLL words a lane in flight. The norm costs no pass of its own:
// Σ w·(x·n) and Σ x² come from the same reading of x, and 1/rms multiplies the finished sum.
//
// Prelude: THREADS, ROWS, COLUMNS, UNROLL, BODY_WORDS (words that the unrolled loop covers),
// N_FIRST and N_END (rows of this dispatch), N, SUMS, NORM, EPS, columns_of_step().
// Fragments: w_* (weight), x_chunk, norm_chunk, bias_at, residual_at, lanes and reduce as `sum`.

@compute @workgroup_size(THREADS)
fn main(
  lanes: Lanes,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let lane = lanes.index;
  let first = N_FIRST + (group.x + group.y * groups.x) * ROWS;
  let first_column = group.z * COLUMNS;
  let columns = columns_of_step();
  if (first >= N_END || first_column >= columns) {
    return;
  }
  //@repeat r ROWS
  let row_$r = min(first + $r, N_END - 1u);
  //@end
  //@repeat c COLUMNS
  let column_$c = min(first_column + $c, columns - 1u);
  var square_$c = 0.0;
  //@repeat r ROWS
  var dot_$c_$r = 0.0;
  //@end
  //@end

  for (var base = 0u; base < BODY_WORDS; base += THREADS * UNROLL) {
    //@repeat u UNROLL
    let word_$u = base + $u * THREADS + lane;
    //@repeat r ROWS
    let w_$u_$r = w_fetch(row_$r, word_$u);
    //@end
    //@end
    //@repeat u UNROLL
    //@repeat p w_PARTS
    {
      let chunk = word_$u * w_PARTS + $p;
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
  for (var word = BODY_WORDS + lane; word < w_WORDS; word += THREADS) {
    //@repeat r ROWS
    let w_$r = w_fetch(row_$r, word);
    //@end
    //@repeat p w_PARTS
    {
      let chunk = word * w_PARTS + $p;
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
  sum_put($c * ROWS + $r, dot_$c_$r, lanes);
  //@end
  if (NORM) {
    sum_put(COLUMNS * ROWS + $c, square_$c, lanes);
  }
  //@end
  sum_meet(lanes);
  for (var i = lane; i < COLUMNS * ROWS; i += THREADS) {
    let row = first + i % ROWS;
    let column = first_column + i / ROWS;
    if (row < N_END && column < columns) {
      var total = sum_get(i, lanes);
      if (NORM) {
        let mean = sum_get(COLUMNS * ROWS + i / ROWS, lanes) / f32(w_COLUMNS);
        total *= inverseSqrt(mean + EPS);
      }
      let at = column * N + row;
      y[at] = total + bias_at(row) + residual_at(at);
    }
  }
}
