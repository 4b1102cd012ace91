//@fragment moe/algorithms/element_vec4
//@gives Element
alias Element = vec4<f32>;
