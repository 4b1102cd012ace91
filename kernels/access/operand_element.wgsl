//@fragment access/operand_element
//@needs Element $SOURCE
//@gives $NAME_element
fn $NAME_element(i: u32) -> Element {
  return $SOURCE[i];
}
