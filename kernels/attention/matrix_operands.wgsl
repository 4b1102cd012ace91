//@fragment attention/matrix_operands
//@needs D KEYS QUERIES COLUMNS PIECES CHUNKS HEADS TEAM_M step halves
//@gives STRIDE SCORES SCORE_STRIDE SLACK WEIGHT_STRIDE TEAM_SCORES ROW_QUADS SLICE SLICE_QUADS PIECE_CHUNKS
//@gives QUERY_STRIDE operands grown query_word
// Workgroup memory of attention by matrices: a tile of keys, or of values, as words of eight halves, with a
// word of padding on every row; then the scores of every query, whose rows are padded too. Before all of
// them come the queries, which take the place of both, in PIECES of their depth where they are more than
// the keys of a tile.
const STRIDE = D / 8u + 1u;
const SCORES = KEYS * STRIDE;
const SCORE_STRIDE = KEYS / 4u + 1u;

var<workgroup> operands: array<vec4<u32>, SCORES + QUERIES * SCORE_STRIDE>;
// The last tile of keys, counted from 1, in which a reference moved.
var<workgroup> grown: atomic<u32>;

// How far a score may exceed the reference of its query before that moves.
const SLACK = 6.0;
const WEIGHT_STRIDE = KEYS / 8u + 1u;
const TEAM_SCORES = TEAM_M * SCORE_STRIDE;
const ROW_QUADS = KEYS / 4u;
// Keys of a tile whose scores a team makes, and dimensions that it takes through the place of scores.
const SLICE = KEYS / COLUMNS;
const SLICE_QUADS = SLICE / 4u;
const PIECE_CHUNKS = CHUNKS / PIECES;
const QUERY_STRIDE = PIECE_CHUNKS + 1u;

// Eight dimensions of a query, zero behind the end of the step.
fn query_word(token: u32, head: u32, chunk: u32) -> vec4<u32> {
  if (token >= step.x) {
    return vec4<u32>();
  }
  return halves[(token * HEADS + head) * CHUNKS + chunk];
}
