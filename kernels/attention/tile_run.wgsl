//@fragment attention/tile_run
//@needs sequence_ids positions first_seen
//@gives Run run_from
// Neighbours in a tile that are of one sequence: those before `end`, and what they see, from the position
// `first` to `last`.
struct Run { sequence: u32, end: u32, first: u32, last: u32 }

fn run_from(token: u32, tile_end: u32) -> Run {
  let sequence = sequence_ids[token];
  var run = Run(u32(sequence), token, 0xffffffffu, 0u);
  loop {
    if (run.end >= tile_end || sequence_ids[run.end] != sequence) {
      break;
    }
    let position = u32(positions[run.end]);
    run.first = min(run.first, first_seen(position));
    run.last = max(run.last, position);
    run.end++;
  }
  return run;
}
