//@fragment moe/algorithms/element_f32
//@gives Element
alias Element = f32;
