//@fragment linear/gemv_multiply
//@needs $NAME_BODY INVOCATIONS UNROLL $NAME_CHUNKS NORM $NAME_WORDS ROWS SQUARES COLUMNS Invocation
//@needs $NAME_fetch norm_chunk x_chunk chunk_dot Chunk $NAME_dot sum_share
//@gives $NAME_multiply
// Products of ROWS rows of a weight with COLUMNS rows of x, by all invocations of a workgroup.
//
// Puts them into the slots from `slot` on, column by column, and with NORM Σ x² of column c into
// slot SQUARES + c; the caller meets and gets. Rows behind `end` and columns behind `columns` are
// computed from the last valid ones. A lane has UNROLL words of each row in flight; the first
// $NAME_BODY words of a row go that way, the rest one by one.
fn $NAME_multiply(
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

  for (var base = 0u; base < $NAME_BODY; base += INVOCATIONS * UNROLL) {
    //@repeat u UNROLL
    let word_$u = base + $u * INVOCATIONS + lane;
    //@repeat r ROWS
    let w_$u_$r = $NAME_fetch(row_$r, word_$u);
    //@end
    //@end
    //@repeat u UNROLL
    //@repeat p $NAME_CHUNKS
    {
      let chunk = word_$u * $NAME_CHUNKS + $p;
      let n = norm_chunk(0u, chunk);
      //@repeat c COLUMNS
      {
        var x = x_chunk(column_$c, chunk);
        if (NORM) {
          square_$c += chunk_dot(x, x);
          x = Chunk(x.lo * n.lo, x.hi * n.hi);
        }
        //@repeat r ROWS
        dot_$c_$r += $NAME_dot(w_$u_$r, $p, x);
        //@end
      }
      //@end
    }
    //@end
    //@end
  }
  for (var word = $NAME_BODY + lane; word < $NAME_WORDS; word += INVOCATIONS) {
    //@repeat r ROWS
    let w_$r = $NAME_fetch(row_$r, word);
    //@end
    //@repeat p $NAME_CHUNKS
    {
      let chunk = word * $NAME_CHUNKS + $p;
      let n = norm_chunk(0u, chunk);
      //@repeat c COLUMNS
      {
        var x = x_chunk(column_$c, chunk);
        if (NORM) {
          square_$c += chunk_dot(x, x);
          x = Chunk(x.lo * n.lo, x.hi * n.hi);
        }
        //@repeat r ROWS
        dot_$c_$r += $NAME_dot(w_$r, $p, x);
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
