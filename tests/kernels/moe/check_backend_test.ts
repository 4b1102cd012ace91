/**
 * Backends with mistakes, as their authors make them: each is an error that names the backend and
 * what is wrong, before anything runs.
 *
 * @module
 */

import assert from "node:assert/strict";
import { ConfigError, constant, Graph, GraphBuilder, KernelError } from "../../../graph/mod.ts";
import type { Binding, Dispatch, LoweringContext } from "../../../kernels/kernel.ts";
import { type MoeBackend, registerMoeBackend } from "../../../kernels/moe/backend.ts";
import { fusedMoeKernel } from "../../../kernels/moe/kernel.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { moeLayer } from "../../support/moe_layer.ts";
import { buildNode } from "../../support/op_case.ts";

declare module "../../../mod.ts" {
  interface MoeBackendTypes {
    tests_only_faulty: true;
  }
}

type Slots = Parameters<MoeBackend["compile"]>[1];

let compile: (slots: Slots) => unknown = () => [];
let supports: () => unknown = () => undefined;

registerMoeBackend({
  name: "tests_only_faulty",
  summary: "does what a test tells it",
  supports: () => supports() as string | undefined,
  compile: (_spec, slots) => compile(slots) as readonly Dispatch[],
});

const CONTEXT: LoweringContext = {
  profile: GPU_PROFILE,
  tokens: { min: 1, max: 8 },
  maxRows: 1,
  pageSize: 16,
  cacheDtype: () => "f32",
  note() {},
};

/** A dispatch that is right, with what a test changes. */
function dispatch({ x, output }: Slots, changes: Partial<Record<keyof Dispatch, unknown>> = {}) {
  return {
    kernel: "mine",
    wgsl: "@compute @workgroup_size(1) fn main() {}",
    bindings: [
      { buffer: x, access: "read" },
      { buffer: output, access: "read_write" },
    ] as Binding[],
    workgroups: () => [1, 1, 1],
    ...changes,
  };
}

function lower(faulty: (slots: Slots) => unknown): readonly Dispatch[] {
  compile = faulty;
  const { node } = buildNode(moeLayer({ backend: "tests_only_faulty" }));
  assert.equal(fusedMoeKernel.refuse(node, CONTEXT), undefined);
  return fusedMoeKernel.lower(node, CONTEXT);
}

function errorOf(run: () => unknown): KernelError {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof KernelError, String(error));
    return error;
  }
  assert.fail("expected an error");
}

/** A value of another graph. */
function foreignValue() {
  const b = new GraphBuilder(new Graph("another"));
  return b.weight("foreign", constant(new Float32Array(4)));
}

const scratch = (bytes: unknown) => ({ kind: "scratch", name: "sums", bytes });

const FAULTS: readonly (readonly [string, (slots: Slots) => unknown, RegExp])[] = [
  ["no list", () => undefined, /expected at least one dispatch, got none$/],
  ["no dispatches", () => [], /expected at least one dispatch, got none$/],
  ["a dispatch that is undefined", () => [undefined], /expected dispatch 0 \(without a kernel/],
  [
    "no shader",
    (slots) => [dispatch(slots, { wgsl: undefined })],
    /expected dispatch 0 \(mine\) with the text of a shader and a list of bindings/,
  ],
  [
    "a buffer that is undefined",
    (slots) => [dispatch(slots, { bindings: [{ buffer: slots.bUp, access: "read" }] })],
    /expected binding 0 of dispatch 0 \(mine\) to name a buffer, got undefined$/,
  ],
  [
    "a buffer of another graph",
    (slots) => [dispatch(slots, { bindings: [{ buffer: foreignValue(), access: "read" }] })],
    /expected binding 0 of dispatch 0 \(mine\) to be one of the layer's own values/,
  ],
  [
    "a cache, which no layer of experts has",
    (slots) => [
      dispatch(slots, {
        bindings: [{ buffer: { kind: "cache", cache: "c", part: "keys" }, access: "read" }],
      }),
    ],
    /to be one of the layer's own values, got another buffer$/,
  ],
  [
    "scratch memory of no size",
    (slots) => [dispatch(slots, { bindings: [{ buffer: scratch(NaN), access: "read_write" }] })],
    /of more than 0 bytes of scratch memory, got NaN$/,
  ],
  [
    "scratch memory that is read before it is written",
    (slots) => [dispatch(slots, { bindings: [{ buffer: scratch(16), access: "read" }] })],
    /to read what an earlier dispatch writes, got scratch "sums"$/,
  ],
  [
    "the sizes of the step as storage",
    (slots) => [dispatch(slots, { bindings: [{ buffer: { kind: "step" }, access: "read" }] })],
    /with access uniform, got read$/,
  ],
  [
    "dispatches that write nothing",
    (slots) => [dispatch(slots, { bindings: [{ buffer: slots.x, access: "read" }] })],
    /expected a dispatch that writes the layer's output, got none$/,
  ],
  [
    "workgroups() that throws",
    (slots) => [
      dispatch(slots, {
        workgroups() {
          throw new TypeError("x is not a function");
        },
      }),
    ],
    /expected workgroups\(\) of dispatch 0 \(mine\) to return, got TypeError: x is not a function$/,
  ],
  [
    "workgroups() that counts halves",
    (slots) => [dispatch(slots, { workgroups: () => [0.5, 1, 1] })],
    /expected three counts of at most \d+ workgroups for 1 tokens from dispatch 0 \(mine\), got \[0\.5,1,1\]$/,
  ],
  [
    "workgroups() beyond what a device takes",
    (slots) => [dispatch(slots, { workgroups: ({ T }: { T: number }) => [T ** 6, 1, 1] })],
    /for 8 tokens from dispatch 0 \(mine\), got \[262144,1,1\]$/,
  ],
  [
    "compile() that throws",
    () => {
      throw new RangeError("too many tiles");
    },
    /expected compile\(\) to return, got RangeError: too many tiles$/,
  ],
];

for (const [what, faulty, message] of FAULTS) {
  Deno.test(`fused_moe refuses a backend with ${what}`, () => {
    const error = errorOf(() => lower(faulty));
    assert.match(error.message, /^Cannot run "case.*" with MoE backend "tests_only_faulty": /);
    assert.match(error.message, message);
    assert.ok(error.hint?.startsWith("Mend the backend"));
  });
}

Deno.test("fused_moe takes a backend without mistakes", () => {
  const [only] = lower((slots) => [dispatch(slots)]);
  assert.deepEqual(only.workgroups({ T: 3, R: 1, S: 1, P: 1 }), [1, 1, 1]);
});

Deno.test("functions of a dispatch that throw later name the backend", () => {
  const fail = () => {
    throw new Error("too late");
  };
  const [only] = lower((slots) => [
    dispatch(slots, {
      workgroups: ({ T }: { T: number }) => T === 3 ? fail() : [1, 1, 1],
      weightBytes: fail,
    }),
  ]);
  const sizes = { T: 3, R: 1, S: 1, P: 1 };
  for (const run of [() => only.workgroups(sizes), () => only.weightBytes?.(sizes)]) {
    assert.match(errorOf(run).message, /MoE backend "tests_only_faulty": .* got Error: too late$/);
  }
});

Deno.test("fused_moe names a backend whose supports() throws", () => {
  supports = () => {
    throw new TypeError("spec.tokens.least is undefined");
  };
  try {
    const { node } = buildNode(moeLayer({ backend: "tests_only_faulty" }));
    const error = errorOf(() => fusedMoeKernel.refuse(node, CONTEXT));
    assert.match(
      error.message,
      /"tests_only_faulty": expected supports\(\) to return, got TypeError/,
    );
  } finally {
    supports = () => undefined;
  }
});

Deno.test("registerMoeBackend() refuses what is no backend", () => {
  const backend = { summary: "", supports: () => undefined, compile: () => [] };
  const wrong: readonly [unknown, RegExp][] = [
    [{ ...backend, name: "Mine-1" }, /expected a name in snake_case/],
    [
      { ...backend, name: "tests_only_empty", compile: undefined },
      /a method compile\(\), got none/,
    ],
    [{ name: "tests_only_empty", summary: "" }, /a method supports\(\), got none/],
  ];
  for (const [value, message] of wrong) {
    assert.throws(() => registerMoeBackend(value as MoeBackend), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, message);
      return true;
    });
  }
});
