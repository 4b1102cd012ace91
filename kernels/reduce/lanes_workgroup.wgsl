//@fragment reduce/lanes_workgroup
//@gives Lanes
// The invocations of a workgroup, where subgroups may not be used.
struct Lanes {
  @builtin(local_invocation_index) index: u32,
}
