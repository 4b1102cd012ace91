//@fragment moe/algorithms/residual_absent
//@needs Element
//@gives residual_element
fn residual_element(i: u32) -> Element {
  return Element();
}
