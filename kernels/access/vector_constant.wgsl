fn $NAME_at(i: u32) -> f32 {
  return $VALUE;
}
