//@fragment attention/matrix_operands
//@needs D KEYS QUERIES
//@gives STRIDE SCORES SCORE_STRIDE operands grown
// Workgroup memory of attention by matrices: a tile of keys, or of values, as words of eight halves, with a
// word of padding on every row; then the scores of every query, whose rows are padded too.
const STRIDE = D / 8u + 1u;
const SCORES = KEYS * STRIDE;
const SCORE_STRIDE = KEYS / 4u + 1u;

var<workgroup> operands: array<vec4<u32>, SCORES + QUERIES * SCORE_STRIDE>;
// The last tile of keys, counted from 1, in which a reference moved.
var<workgroup> grown: atomic<u32>;
