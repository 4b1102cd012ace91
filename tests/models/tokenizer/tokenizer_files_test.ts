/** Tokenizers as people have them: old files, configs that add tokens, SentencePiece, broken ones. */

import assert from "node:assert/strict";
import { CheckpointError } from "../../../graph/mod.ts";
import { Tokenizer } from "../../../models/mod.ts";

const GOLDEN = new URL("../../golden/tokenizers/", import.meta.url).pathname;

async function readGolden(path: string) {
  return JSON.parse(await Deno.readTextFile(GOLDEN + path));
}

Deno.test("encode() splits as gpt-oss's pattern does", async () => {
  const tokenizer = await Tokenizer.open(`${GOLDEN}o200k`);
  const { rows } = await readGolden("o200k/rows.json");
  assert.equal(rows.length, 55);
  for (const { text, ids, decoded } of rows) {
    assert.deepEqual(tokenizer.encode(text), ids, text);
    assert.equal(tokenizer.decode(ids), decoded);
  }
});

Deno.test("decode() leaves the spaces of BPE alone, whatever the config says", async () => {
  const file = await readGolden("bytelevel_qwen/tokenizer.json");
  const tokenizer = new Tokenizer(file, { clean_up_tokenization_spaces: true });
  for (const text of ["if (x != y) { return a . b ; }", "Hello , world ! it 's", "don 't n't"]) {
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
  }
});

Deno.test("added_tokens_decoder adds tokens after the vocabulary", async () => {
  const file = await readGolden("bytelevel_qwen/tokenizer.json");
  const size = Math.max(
    ...Object.values<number>(file.model.vocab),
    ...file.added_tokens.map(({ id }: { id: number }) => id),
  ) + 1;
  const token = (content: string, special: boolean) => ({ content, special, normalized: false });
  const added_tokens_decoder = { 90001: token("<|b|>", true), 90000: token("<|a|>", false) };
  const tokenizer = new Tokenizer(file, { added_tokens_decoder });
  assert.equal(tokenizer.idOf("<|a|>"), size);
  assert.equal(tokenizer.idOf("<|b|>"), size + 1);
  const ids = tokenizer.encode("x<|a|><|b|>y");
  assert.deepEqual(ids.slice(1, 3), [size, size + 1]);
  assert.equal(tokenizer.decode(ids), "x<|a|>y");
  assert.equal(tokenizer.decode(ids, { keep: new Set(["<|b|>"]) }), "x<|a|><|b|>y");
  assert.equal(tokenizer.decode(ids, { skipSpecialTokens: false }), "x<|a|><|b|>y");
});

Deno.test("encode() takes files of before 2020, without type and with merges as text", async () => {
  const file = await readGolden("bytelevel_qwen/tokenizer.json");
  const { strings } = await readGolden("bytelevel_qwen/tokenizer_golden.json");
  const { type: _type, ...model } = file.model;
  model.merges = model.merges.map((pair: string | string[]) =>
    Array.isArray(pair) ? pair.join(" ") : pair
  );
  const { pre_tokenizer, decoder, added_tokens, normalizer } = file;
  const old = new Tokenizer({ model, pre_tokenizer, decoder, added_tokens, normalizer });
  const { ids_no_special, text } = strings[3];
  assert.deepEqual(old.encode(text, { addSpecialTokens: false }), ids_no_special);
});

const BROKEN: readonly [string, unknown][] = [
  ["BertProcessing without tokens", { type: "BertProcessing" }],
  ["BertProcessing of no vocabulary", {
    type: "BertProcessing",
    sep: ["[SEP]", 1],
    cls: ["[CLS]", 2],
  }],
  ["RobertaProcessing without tokens", { type: "RobertaProcessing" }],
  ["a template that is a number", { type: "TemplateProcessing", single: 5 }],
  ["a template without items", { type: "TemplateProcessing" }],
  ["a template of strings", { type: "TemplateProcessing", single: ["<s>", "$A"] }],
  ["a token that is unknown", {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<nobody>" } }],
  }],
  ["a sequence that is a number", { type: "Sequence", processors: 5 }],
  ["a type that is unknown", { type: "Magic" }],
  ["a list", []],
];

for (const [name, post_processor] of BROKEN) {
  Deno.test(`Tokenizer.open() refuses ${name} as post_processor`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const file = { ...await readGolden("bytelevel_qwen/tokenizer.json"), post_processor };
      await Deno.writeTextFile(`${folder}/tokenizer.json`, JSON.stringify(file));
      await assert.rejects(
        Tokenizer.open(folder),
        (error) =>
          error instanceof CheckpointError && error.code === "checkpoint/tokenizer" &&
          error.message.includes(folder),
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

/** A field of a protocol buffer. */
function field(number: number, value: number | string | Uint8Array): number[] {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0) {
    return [...varint(number << 3), ...varint(value)];
  }
  if (typeof value === "number") {
    return [...varint((number << 3) | 5), ...new Uint8Array(Float32Array.of(value).buffer)];
  }
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  return [...varint((number << 3) | 2), ...varint(bytes.length), ...bytes];
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
}

/** A SentencePiece model with the vocabulary and the merges of a tokenizer.json. */
function sentencePieceOf(model: { vocab: Record<string, number>; merges: (string | string[])[] }) {
  const scores = new Map<string, number>();
  model.merges.forEach((merge, rank) => {
    const piece = Array.isArray(merge) ? merge.join("") : merge.replace(" ", "");
    if (!scores.has(piece)) scores.set(piece, -rank - 0.5);
  });
  const pieces = Object.entries(model.vocab).sort((a, b) => a[1] - b[1]).flatMap(([text, id]) => {
    const kind = id === 0 ? 2 : id < 3 ? 3 : /^<0x[0-9A-F]{2}>$/.test(text) ? 6 : 1;
    return field(
      1,
      Uint8Array.from([
        ...field(1, text),
        ...field(2, scores.get(text) ?? -1e9 - 0.5),
        ...field(3, kind),
      ]),
    );
  });
  const trainer = field(
    2,
    Uint8Array.from([...field(3, 2), ...field(35, 1), ...field(41, 1), ...field(42, 2)]),
  );
  const normalizer = (spaces: number) =>
    field(3, Uint8Array.from([...field(1, "identity"), ...field(3, 1), ...field(4, spaces)]));
  return (removesSpaces = 0) =>
    Uint8Array.from([...pieces, ...trainer, ...normalizer(removesSpaces)]);
}

for (const [name, legacy] of [["llama_legacy", true], ["llama_metaspace", false]] as const) {
  Deno.test(`Tokenizer.open() reads a SentencePiece model as ${name}`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const { model } = await readGolden(`${name}/tokenizer.json`);
      const config = { ...await readGolden(`${name}/tokenizer_config.json`), legacy };
      await Deno.writeFile(`${folder}/tokenizer.model`, sentencePieceOf(model)());
      await Deno.writeTextFile(`${folder}/tokenizer_config.json`, JSON.stringify(config));
      const tokenizer = await Tokenizer.open(folder);
      const { strings } = await readGolden(`${name}/tokenizer_golden.json`);
      for (const { text, ids, decoded_skip_special } of strings) {
        assert.deepEqual(tokenizer.encode(text), ids, text);
        assert.equal(tokenizer.decode(ids), decoded_skip_special);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("Tokenizer.open() says what to convert where rules are missing", async () => {
  const { model } = await readGolden("llama_legacy/tokenizer.json");
  const files: readonly [string, string | Uint8Array, RegExp][] = [
    [
      "tokenizer.model",
      "IQ== 0\nIg== 1\n",
      /tokenizer.model": expected a tokenizer.json beside it, got only ranks of tiktoken/,
    ],
    ["tokenizer.model", sentencePieceOf(model)(1), /got only a model that normalizes texts/],
    ["tokenizer.model", Uint8Array.of(255, 255, 255), /expected a SentencePiece model, got/],
    ["tokenizer.model", "", /expected a SentencePiece model, got no pieces/],
    ["tiktoken.model", "IQ== 0\n", /tiktoken.model/],
    ["tekken.json", "{}", /tekken/],
    ["vocab.json", "{}", /vocab.json/],
  ];
  for (const [name, content, message] of files) {
    const folder = await Deno.makeTempDir();
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    await Deno.writeFile(`${folder}/${name}`, bytes);
    const { unavailable } = await Tokenizer.open(folder);
    assert.match(unavailable?.message ?? "", message);
    assert.ok(unavailable?.hint);
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("encode() begins with a BOS when the config of a Llama tokenizer says so", async () => {
  const file = await readGolden("llama_legacy/tokenizer.json");
  const config = await readGolden("llama_legacy/tokenizer_config.json");
  const bos = (add_bos_token: boolean, tokenizer_class: string, post_processor: unknown) =>
    new Tokenizer({ ...file, post_processor }, { ...config, add_bos_token, tokenizer_class })
      .encode("a")[0] === 1;
  assert.equal(bos(true, "LlamaTokenizerFast", null), true);
  assert.equal(bos(true, "LlamaTokenizer", file.post_processor), true);
  assert.equal(bos(false, "LlamaTokenizerFast", file.post_processor), false);
  assert.equal(bos(true, "PreTrainedTokenizerFast", null), false);
});

Deno.test("special_tokens_map.json names the tokens that the config does not", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = await readGolden("llama_legacy/tokenizer.json");
    await Deno.writeTextFile(`${folder}/tokenizer.json`, JSON.stringify(file));
    await Deno.writeTextFile(
      `${folder}/special_tokens_map.json`,
      '{"eos_token": {"content": "</s>"}, "bos_token": "</s>"}',
    );
    await Deno.writeTextFile(`${folder}/tokenizer_config.json`, '{"bos_token": "<s>"}');
    const { bosTokenId, eosTokenId } = await Tokenizer.open(folder);
    assert.deepEqual([bosTokenId, eosTokenId], [1, 2]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
