//@fragment access/absent_element
//@needs Element
//@gives $NAME_element
fn $NAME_element(i: u32) -> Element {
  return Element($VALUE);
}
