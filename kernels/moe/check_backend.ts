/**
 * Checks what a backend gives, so that a mistake of its author is an error with the backend's name,
 * raised before the first step, and never a wrong answer.
 *
 * @module
 */

import { KernelError, messageOf, MixlineError, type Node, type Value } from "../../graph/mod.ts";
import type { Binding, DeviceProfile, Dispatch, ExpertChoice, StepSizes } from "../kernel.ts";

/** The part of a node that is checked. */
export type LayerNode = Pick<Node, "scope" | "outputs"> & {
  readonly inputs: Readonly<Record<string, Value | readonly Value[] | undefined>>;
};

/** Where a list of dispatches comes from, and the steps it is for. */
export interface BackendOutput {
  readonly backend: string;
  readonly node: LayerNode;
  readonly profile: Pick<DeviceProfile, "maxWorkgroupsPerDimension">;
  /** Steps of `min..max` tokens. */
  readonly tokens: { readonly min: number; readonly max: number };
  /** What the backend chooses experts from, where it does. */
  readonly choice?: ExpertChoice;
}

/**
 * Calls a backend's method.
 *
 * @throws {KernelError} `kernel/backend-failed` for anything it throws that is no error of Mixline.
 */
export function callBackend<Result>(
  { backend, node }: Pick<BackendOutput, "backend" | "node">,
  method: string,
  call: () => Result,
): Result {
  try {
    return call();
  } catch (error) {
    if (error instanceof MixlineError) throw error;
    const name = error instanceof Error ? `${error.name}: ` : "";
    throw new KernelError(
      "kernel/backend-failed",
      `Cannot run "${
        placeOf(node)
      }" with MoE backend "${backend}": expected ${method} to return, got ${name}${
        messageOf(error)
      }`,
      {
        hint: "Mend the backend, or choose another one for this layer",
        details: { backend, scope: node.scope },
        cause: error,
      },
    );
  }
}

/**
 * The dispatches of a backend, checked, with functions that name the backend when they throw.
 *
 * @throws {KernelError} `kernel/backend-dispatch` for an empty list, for bindings that are none of
 * the layer's, for workgroups that are no counts, and when nothing writes the layer's output.
 */
export function checkBackend(
  dispatches: readonly Dispatch[],
  output: BackendOutput,
): readonly Dispatch[] {
  if (!Array.isArray(dispatches) || dispatches.length === 0) {
    refuse(output, "expected at least one dispatch, got none");
  }
  const written = new Set<string>();
  if (output.choice) written.add(keyOf({ buffer: output.choice.logits, access: "read" }));
  for (const [i, dispatch] of dispatches.entries()) checkDispatch(dispatch, i, written, output);
  const [result] = output.node.outputs;
  if (!written.has(keyOf({ buffer: result, access: "read_write" }))) {
    refuse(output, `expected a dispatch that writes the layer's output, got none`);
  }
  return dispatches.map((dispatch) => guard(dispatch, output));
}

function checkDispatch(
  dispatch: Dispatch,
  index: number,
  written: Set<string>,
  output: BackendOutput,
): void {
  const { node, choice } = output;
  const what = `dispatch ${index} (${dispatch?.kernel ?? "without a kernel's name"})`;
  if (typeof dispatch?.wgsl !== "string" || !Array.isArray(dispatch.bindings)) {
    refuse(
      output,
      `expected ${what} with the text of a shader and a list of bindings, got neither`,
    );
  }
  const inputs = [node, ...(choice ? [choice.router] : [])].flatMap(({ inputs }) =>
    Object.values(inputs).flat()
  );
  const values = new Set<unknown>([...inputs, ...node.outputs]);
  for (const [i, binding] of dispatch.bindings.entries()) {
    const problem = bindingProblem(binding, values, written);
    if (problem !== undefined) refuse(output, `expected binding ${i} of ${what} ${problem}`);
  }
  for (const binding of dispatch.bindings) {
    if (binding.access === "read_write") written.add(keyOf(binding));
  }
  const { tokens, profile } = output;
  for (const T of [tokens.min, tokens.max]) {
    const counts: unknown = callBackend(
      output,
      `workgroups() of ${what}`,
      () => dispatch.workgroups({ T, R: 1, S: 1, P: 1 }),
    );
    const limit = profile.maxWorkgroupsPerDimension;
    const isCount = (count: unknown) => Number.isInteger(count) && Number(count) >= 0;
    if (
      Array.isArray(counts) && counts.length === 3 &&
      counts.every((count) => isCount(count) && count <= limit)
    ) continue;
    refuse(
      output,
      `expected three counts of at most ${limit} workgroups for ${T} tokens from ${what}, got ${
        JSON.stringify(counts)
      }`,
    );
  }
}

/** What is wrong with a binding, as the end of a sentence. */
function bindingProblem(
  binding: Binding | undefined,
  values: ReadonlySet<unknown>,
  written: ReadonlySet<string>,
): string | undefined {
  const buffer = binding?.buffer;
  if (!binding || !buffer) return "to name a buffer, got undefined";
  const { access } = binding;
  switch (buffer.kind) {
    case "step":
      return access === "uniform" ? undefined : `with access uniform, got ${access}`;
    case "scratch":
      if (access === "uniform") return "with access read or read_write, got uniform";
      if (!(Number.isFinite(buffer.bytes) && buffer.bytes > 0)) {
        return `of more than 0 bytes of scratch memory, got ${buffer.bytes}`;
      }
      return access === "read" && !written.has(keyOf(binding))
        ? `to read what an earlier dispatch writes, got scratch "${buffer.name}"`
        : undefined;
    default:
      if (!values.has(buffer)) return "to be one of the layer's own values, got another buffer";
      return access === "uniform" ? "with access read or read_write, got uniform" : undefined;
  }
}

function keyOf({ buffer }: Binding): string {
  if (buffer.kind === "scratch") return `scratch ${buffer.node ?? ""} ${buffer.name}`;
  return "id" in buffer ? `value ${buffer.id}` : buffer.kind;
}

/** The dispatch with functions that the runtime calls at every step. */
function guard(dispatch: Dispatch, output: BackendOutput): Dispatch {
  const { kernel, weightBytes } = dispatch;
  const call = <Result>(name: string, run: () => Result) =>
    callBackend(output, `${name}() of "${kernel}"`, run);
  return {
    ...dispatch,
    workgroups: (sizes: StepSizes) => call("workgroups", () => dispatch.workgroups(sizes)),
    ...(weightBytes && {
      weightBytes: (sizes: StepSizes) => call("weightBytes", () => weightBytes(sizes)),
    }),
  };
}

function refuse({ backend, node }: BackendOutput, problem: string): never {
  throw new KernelError(
    "kernel/backend-dispatch",
    `Cannot run "${placeOf(node)}" with MoE backend "${backend}": ${problem}`,
    {
      hint: "Mend the backend, or choose another one for this layer",
      details: { backend, scope: node.scope },
    },
  );
}

function placeOf(node: LayerNode): string {
  return node.scope || node.outputs[0].name;
}
