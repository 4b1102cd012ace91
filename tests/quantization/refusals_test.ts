/** What is said of quantization configs that are not read: the key, what is read, and what to do. */

import assert from "node:assert/strict";
import fc from "../../deps/fast_check.ts";
import { CheckpointError } from "../../graph/mod.ts";
import { DIALECTS, readQuantization, REFUSED_METHODS } from "../../models/mod.ts";

const compressed = (weights: unknown, more: Record<string, unknown> = {}) => ({
  quant_method: "compressed-tensors",
  format: "pack-quantized",
  config_groups: { group_0: { targets: ["Linear"], weights } },
  ...more,
});

const int4 = { num_bits: 4, type: "int", strategy: "group", group_size: 32 };

/** A config, and the end of the message about it. */
const REFUSED: readonly (readonly [name: string, config: unknown, message: string])[] = [
  ["an empty method", { quant_method: 7 }, 'for quant_method, got "7"'],
  ["a config that is a list", [], "expected a JSON object, got []"],
  ["bitsandbytes without a method", { load_in_4bit: true }, 'quant_method, got "bitsandbytes"'],
  ["MLX", { group_size: 64, bits: 4 }, 'for quant_method, got "mlx"'],
  [
    "FP8 of another kind",
    { quant_method: "fp8", fmt: "e5m2" },
    'expected "e4m3" for fmt, got "e5m2"',
  ],
  [
    "FP8 blocks of no size",
    { quant_method: "fp8", weight_block_size: [0, 128] },
    "expected more than 0 for weight_block_size.0, got 0",
  ],
  [
    "skip lists that are no lists",
    { quant_method: "fp8", ignored_layers: { a: 1 } },
    'expected a list of module names for ignored_layers, got {"a":1}',
  ],
  [
    "patterns that are no regular expressions",
    { quant_method: "fp8", ignored_layers: ["re:(a"] },
    'expected a list of modules with valid regular expressions, got "(a"',
  ],
  ["GPTQ of 3 bits", { quant_method: "gptq", bits: 3 }, "expected 4 or 8 for bits, got 3"],
  [
    "GPTQ in Marlin's layout",
    { quant_method: "gptq", bits: 4, checkpoint_format: "marlin" },
    'expected "gptq" or "gptq_v2" for checkpoint_format, got "marlin"',
  ],
  [
    "a dynamic rule of 2 bits",
    { quant_method: "gptq", bits: 4, dynamic: { "+:.*down.*": { bits: 2 } } },
    "expected 4 or 8 for bits, got 2",
  ],
  [
    "AutoRound's own layout",
    { quant_method: "auto-round", bits: 4, packing_format: "auto_round:gptq_marlin" },
    'for packing_format, got "gptq_marlin"',
  ],
  [
    "AWQ for GEMV",
    { quant_method: "awq", bits: 4, group_size: 128, version: "gemv" },
    'expected "gemm" for version, got "gemv"',
  ],
  [
    "AWQ of 8 bits",
    { quant_method: "awq", bits: 8, group_size: 128 },
    "expected 4 for bits, got 8",
  ],
  [
    "ModelOpt's AWQ",
    { quant_method: "modelopt", quant_algo: "W4A16_AWQ" },
    'for quant_algo, got "W4A16_AWQ"',
  ],
  [
    "a layer of ModelOpt's AWQ",
    {
      quant_method: "modelopt",
      quant_algo: "MIXED_PRECISION",
      quantized_layers: { "model.layers.0.mlp": { quant_algo: "NVFP4_AWQ" } },
    },
    'for quant_algo, got "NVFP4_AWQ"',
  ],
  [
    "marlin-24",
    compressed(int4, { format: "marlin-24" }),
    'mxfp4-pack-quantized for format, got "marlin-24"',
  ],
  [
    "sparse weights",
    compressed(int4, { sparsity_config: { format: "sparse-24-bitmask" } }),
    'expected "dense" for sparsity_config.format, got "sparse-24-bitmask"',
  ],
  [
    "rotated activations",
    compressed(int4, { transform_config: { config_groups: { R1: {} } } }),
    'expected no rotations of activations for transform_config, got ["R1"]',
  ],
  [
    "a model in calibration",
    compressed(int4, { quantization_status: "calibration" }),
    'expected "compressed" or "frozen" for quantization_status, got "calibration"',
  ],
  ["2 bits", compressed({ ...int4, num_bits: 2 }), "expected 4 or 8 for weights.num_bits, got 2"],
  [
    "groups without a size",
    compressed({ ...int4, group_size: null }),
    "expected a positive number or -1 for weights.group_size, got none",
  ],
  [
    "a block without a size",
    compressed({ num_bits: 8, type: "float", strategy: "block" }, { format: "float-quantized" }),
    "expected [rows, columns] for weights.block_structure, got none",
  ],
  [
    "floats of 4 bits in FP8's form",
    compressed({ num_bits: 4, type: "float", strategy: "tensor" }, { format: "float-quantized" }),
    "expected 8 for weights.num_bits, got 4",
  ],
];

function refusalOf(config: unknown): CheckpointError {
  try {
    readQuantization(config, undefined, "folder");
  } catch (error) {
    assert.ok(error instanceof CheckpointError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: "it was accepted" });
}

for (const [name, config, message] of REFUSED) {
  Deno.test(`a quantization config with ${name} is refused`, () => {
    const error = refusalOf(config);
    assert.ok(error.message.endsWith(message), error.message);
    assert.match(error.message, /^Cannot read .*quantization_config of config\.json of "folder": /);
    assert.ok(error.hint);
  });
}

Deno.test("every method that is known and not read is refused by name, with what to do", () => {
  for (const [method, hint] of Object.entries(REFUSED_METHODS)) {
    const error = refusalOf({ quant_method: method });
    assert.ok(error.message.endsWith(`for quant_method, got "${method}"`), error.message);
    assert.equal(error.hint, hint);
    assert.ok(!DIALECTS.some(({ methods }) => methods.includes(method)), `${method} is read`);
  }
});

Deno.test("configs that say nothing are no quantization", () => {
  for (const config of [undefined, null, {}, { quant_method: null }]) {
    assert.equal(readQuantization(config, undefined, "folder"), undefined);
  }
  const cacheAlone = { quantization: { quant_algo: null, kv_cache_quant_algo: "FP8" } };
  assert.equal(readQuantization(undefined, cacheAlone, "folder"), undefined);
});

Deno.test("lists of modules under any key, with any pattern, leave modules plain", () => {
  const lists = [
    { modules_to_not_convert: ["lm_head", "model.layers.0.self_attn"] },
    { ignored_layers: ["model.layers.0.self_attn.q_proj"] },
    { ignore: ["re:.*self_attn.*"] },
    { exclude_modules: "*self_attn*" },
    { ignore: ["layers.?.self_attn"] },
  ];
  const autoRound = {
    quant_method: "auto-round",
    bits: 4,
    packing_format: "auto_round:auto_gptq",
    extra_config: { "model.layers.0.mlp.gate": { bits: 16 }, lm_head: { bits: 8 } },
  };
  const rounded = readQuantization(autoRound, undefined, "folder");
  assert.ok(rounded?.isExcluded("model.layers.0.mlp.gate") && !rounded.isExcluded("lm_head"));
  for (const list of lists) {
    const quantization = readQuantization({ quant_method: "fp8", ...list }, undefined, "folder");
    assert.ok(quantization, JSON.stringify(list));
    assert.ok(quantization.isExcluded("model.layers.0.self_attn.q_proj"), JSON.stringify(list));
    assert.ok(!quantization.isExcluded("model.layers.0.mlp.experts.0.gate_proj"));
  }
  const none = readQuantization({ quant_method: "fp8", ignored_layers: null }, undefined, "folder");
  assert.equal(none?.isExcluded("model.layers.0.self_attn.q_proj"), false);
});

Deno.test("any JSON in place of a quantization config is read or refused, never a crash", () => {
  const methods = DIALECTS.flatMap((dialect) => dialect.methods);
  const keys = fc.constantFrom(
    ...["bits", "group_size", "config_groups", "quant_algo", "dynamic", "ignore", "format"],
    ...["weight_block_size", "quantized_layers", "quantization", "checkpoint_format", "version"],
  );
  const config = fc.tuple(
    fc.constantFrom(...methods, "other"),
    fc.dictionary(fc.oneof(keys, fc.string()), fc.jsonValue({ maxDepth: 4 })),
  ).map(([quant_method, rest]) => ({ ...rest, quant_method }));
  fc.assert(
    fc.property(fc.oneof(config, fc.jsonValue()), fc.boolean(), (value, isModelOpt) => {
      try {
        const read = isModelOpt
          ? readQuantization(undefined, value, "folder")
          : readQuantization(value, undefined, "folder");
        read?.schemeOf("model.layers.0.mlp.experts.0.gate_proj");
        read?.isExcluded("model.layers.0.mlp.gate");
      } catch (error) {
        assert.ok(error instanceof CheckpointError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
