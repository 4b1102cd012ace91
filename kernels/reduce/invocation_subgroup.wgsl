//@fragment reduce/invocation_subgroup
//@needs INVOCATIONS
//@gives MAX_SUBGROUPS Invocation
// The invocations of a workgroup, where subgroups may be used. Nothing is assumed about the size of
// subgroups but that they have $SMALLEST invocations or more.
const MAX_SUBGROUPS = max(1u, INVOCATIONS / $SMALLESTu);

struct Invocation {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) in_subgroup: u32,
}
