//@fragment moe/algorithms/matrices_tiles
//@needs BLOCK_K BLOCK_M BLOCK_N TEAM_N TEAMS MATRIX_M
//@gives STRIDE SLAB_STRIDE SLAB a_tile b_tile slab
enable f16;

// Both operands of a tile as halves, rows along K with 16 bytes of padding, so that neighbouring rows
// fall into different banks; and a row of matrices of every team's sums.
const STRIDE = BLOCK_K + 8u;
const SLAB_STRIDE = TEAM_N + 4u;
const SLAB = MATRIX_M * SLAB_STRIDE;

var<workgroup> a_tile: array<f16, BLOCK_M * STRIDE>;
var<workgroup> b_tile: array<f16, BLOCK_N * STRIDE>;
var<workgroup> slab: array<f32, TEAMS * SLAB>;
