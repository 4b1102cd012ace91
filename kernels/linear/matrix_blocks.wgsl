//@fragment linear/matrix_blocks
//@needs Block NO_ROW BLOCK_M BLOCK_N N_FIRST N_END rows_of_step halves_scale store_quad
//@gives block_of left_row put
// Blocks of a linear layer for products by matrices: all rows that the step has, one after the other.
fn block_of(group: vec3<u32>, groups: vec3<u32>) -> Block {
  let row = group.y * BLOCK_M;
  return Block(row < rows_of_step(), row, N_FIRST + group.x * BLOCK_N, N_END, 0u);
}

fn left_row(position: u32) -> u32 {
  return select(NO_ROW, position, position < rows_of_step());
}

fn put(block: Block, position: u32, column: u32, first: vec4<f32>, second: vec4<f32>) {
  if (position < rows_of_step() && column < N_END) {
    store_quad(position, column, first * halves_scale[position]);
  }
}
