//@fragment access/operand_element
//@needs $SOURCE Element
//@gives $NAME_element
fn $NAME_element(i: u32) -> Element {
  return $SOURCE[i];
}
