//@fragment reduce/invocation_workgroup
//@gives Invocation
// The invocations of a workgroup, where subgroups may not be used.
struct Invocation {
  @builtin(local_invocation_index) index: u32,
}
