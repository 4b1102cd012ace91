//@fragment moe/algorithms/operands_f16
//@gives Operand
enable f16;

// What tiles in workgroup memory are made of: half the bytes; products and sums are f32 again.
alias Operand = vec4<f16>;
