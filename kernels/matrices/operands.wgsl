//@fragment matrices/operands
//@needs BLOCK_K BLOCK_M BLOCK_N TEAM_N TEAMS MATRIX_M
//@gives CHUNKS STRIDE RIGHT SUMS_STRIDE SUMS operands
// Workgroup memory of a product: rows of the left operand, then rows of the right one, as words of
// eight halves along K. A word of padding on every row makes neighbouring rows fall into different
// banks. When the product is done, sums take the same memory: a row of matrices of every team.
const CHUNKS = BLOCK_K / 8u;
const STRIDE = CHUNKS + 1u;
const RIGHT = BLOCK_M * STRIDE;
const SUMS_STRIDE = TEAM_N / 4u + 1u;
const SUMS = MATRIX_M * SUMS_STRIDE;

var<workgroup> operands: array<vec4<u32>, max((BLOCK_M + BLOCK_N) * STRIDE, TEAMS * SUMS)>;
