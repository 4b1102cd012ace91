//@fragment access/rows_ragged
//@needs $NAME_COLUMNS $NAME Chunk
//@gives $NAME_chunk
// Rows of f32 activations of any length, bound as array<f32>; zeros behind the end.
fn $NAME_element(row: u32, column: u32) -> f32 {
  if (column >= $NAME_COLUMNS) {
    return 0.0;
  }
  return $NAME[row * $NAME_COLUMNS + column];
}

fn $NAME_chunk(row: u32, chunk: u32) -> Chunk {
  let c = chunk * 8u;
  return Chunk(
    vec4(
      $NAME_element(row, c), $NAME_element(row, c + 1u),
      $NAME_element(row, c + 2u), $NAME_element(row, c + 3u),
    ),
    vec4(
      $NAME_element(row, c + 4u), $NAME_element(row, c + 5u),
      $NAME_element(row, c + 6u), $NAME_element(row, c + 7u),
    ),
  );
}
