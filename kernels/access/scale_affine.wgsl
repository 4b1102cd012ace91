//@fragment access/scale_affine
//@needs $NAME_MATRIX_ROWS $NAME_SCALE_ROWS $NAME_BLOCK_ROWS $NAME_SCALE_COLUMNS $NAME_BLOCK_COLUMNS
//@needs $NAME_scale Chunk chunk_dot
//@gives $NAME_Scale $NAME_scale_fetch $NAME_apply $NAME_apply_dot
// Scales and offsets of an affine format, side by side: a grid $NAME_SCALE_ROWS x $NAME_SCALE_COLUMNS
// of pairs for every matrix of $NAME_MATRIX_ROWS rows; blocks at the edges may be partial.
alias $NAME_Scale = vec2<f32>;

fn $NAME_scale_fetch(row: u32, column: u32) -> $NAME_Scale {
  let matrix = row / $NAME_MATRIX_ROWS;
  let inside = row - matrix * $NAME_MATRIX_ROWS;
  let line = matrix * $NAME_SCALE_ROWS + inside / $NAME_BLOCK_ROWS;
  return $NAME_scale[line * $NAME_SCALE_COLUMNS + column / $NAME_BLOCK_COLUMNS];
}

// code * scale + offset for eight codes.
fn $NAME_apply(codes: Chunk, scale: vec2<f32>) -> Chunk {
  return Chunk(codes.lo * scale.x + scale.y, codes.hi * scale.x + scale.y);
}

// The dot product of eight such values with x: one product with the sum of x adds the offset.
fn $NAME_apply_dot(codes: Chunk, scale: vec2<f32>, x: Chunk) -> f32 {
  let sum = dot(x.lo + x.hi, vec4(1.0));
  return chunk_dot(codes, x) * scale.x + sum * scale.y;
}
