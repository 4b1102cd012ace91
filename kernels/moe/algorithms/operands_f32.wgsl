//@fragment moe/algorithms/operands_f32
//@gives Operand
// What tiles in workgroup memory are made of.
alias Operand = vec4<f32>;
