//@fragment matrices/block
//@gives Block NO_ROW
// What a workgroup makes: rows from `row` on, outputs from `output` on and before `outputs_end`, of the
// matrix whose rows begin at `weight`.
struct Block { used: bool, row: u32, output: u32, outputs_end: u32, weight: u32 }

// A row of a block that stands for none.
const NO_ROW = 0xffffffffu;
