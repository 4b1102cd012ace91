//@fragment access/scale_grid
//@needs $NAME_MATRIX_ROWS $NAME_SCALE_ROWS $NAME_BLOCK_ROWS $NAME_SCALE_COLUMNS $NAME_BLOCK_COLUMNS
//@needs $NAME_scale
//@gives $NAME_Scale $NAME_scale_fetch $NAME_scale_value
// f32 scales of a block format: a grid $NAME_SCALE_ROWS x $NAME_SCALE_COLUMNS for every matrix of
// $NAME_MATRIX_ROWS rows, one number for each block; blocks at the edges may be partial.
alias $NAME_Scale = f32;

fn $NAME_scale_fetch(row: u32, column: u32) -> $NAME_Scale {
  let matrix = row / $NAME_MATRIX_ROWS;
  let inside = row - matrix * $NAME_MATRIX_ROWS;
  let line = matrix * $NAME_SCALE_ROWS + inside / $NAME_BLOCK_ROWS;
  return $NAME_scale[line * $NAME_SCALE_COLUMNS + column / $NAME_BLOCK_COLUMNS];
}

fn $NAME_scale_value(scale: $NAME_Scale) -> f32 {
  return scale;
}
