//@fragment moe/algorithms/residual
//@needs Element residual
//@gives residual_element
fn residual_element(i: u32) -> Element {
  return residual[i];
}
