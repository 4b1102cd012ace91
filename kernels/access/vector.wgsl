fn $NAME_at(i: u32) -> f32 {
  return $SOURCE[i];
}
