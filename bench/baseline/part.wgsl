// Which expert a dispatch is for: written by the host, so that all experts share a pipeline.
struct Part {
  // Tokens that chose this expert, and the place of the first of them in the list of slots.
  rows: u32,
  first: u32,
  expert: u32,
}
