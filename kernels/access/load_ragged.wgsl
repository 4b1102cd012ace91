//@fragment access/load_ragged
//@needs $NAME_COLUMNS Chunk $NAME_at chunk_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Weight rows of any length, element by element through $NAME_at; zeros behind the end.
alias $NAME_Word = Chunk;

fn $NAME_element(row: u32, column: u32) -> f32 {
  if (column >= $NAME_COLUMNS) {
    return 0.0;
  }
  return $NAME_at(row, column);
}

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let c = word * 8u;
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

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  return word;
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(word, x);
}
