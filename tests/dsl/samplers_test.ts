/**
 * Samplers of plug-ins: their place in a pipeline, what they do to draws, and their mistakes.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { z } from "../../deps/zod.ts";
import { pipelineJsonSchema } from "../../dsl/mod.ts";
import type { DrawRule, DrawRules } from "../../graph/mod.ts";
import { defineSampler, type Engine, type MixlineError, pipeline } from "../../mod.ts";
import { slowTest } from "../support/quick.ts";
import { serveStoryteller } from "../support/server.ts";

const MODEL = fileURLToPath(new URL("../../demo/storyteller", import.meta.url));
const EXAMPLE = fileURLToPath(new URL("../../examples/07_own_sampler.ts", import.meta.url));
const PROMPT = "Once upon a time";

/** A pipeline with a sampler that is made for one test. */
function withSampler(open: () => (prompt: Int32Array) => DrawRules) {
  const sampler = defineSampler({
    key: "tests_sampler",
    summary: "Do what the test says",
    config: z.object({}),
    open,
  });
  return pipeline().settings({ executor: "cpu", maxBatchSize: 2 }).use(sampler);
}

/** A mask of one token. */
function only(id: number, engine: Engine): Uint32Array<ArrayBuffer> {
  const mask = new Uint32Array(Math.ceil(engine.vocabSize / 32));
  mask[id >> 5] |= 1 << (id & 31);
  return mask;
}

Deno.test("a sampler's module in another folder gives a YAML key, a schema, and survives the round trip", async () => {
  const folder = await Deno.makeTempDir({ prefix: "mixline sampler " });
  try {
    // The name of its own that a stranger's folder has; the module itself is the example.
    await Deno.writeTextFile(
      join(folder, "mine.ts"),
      `export { default } from ${JSON.stringify(pathToFileURL(EXAMPLE).href)};\n`,
    );
    const file = join(folder, "config.yaml");
    await Deno.writeTextFile(
      file,
      "plugins: [./mine.ts]\nexecutor: cpu\nmax_batch_size: 2\ntransforms: { without_letter: { letter: a } }\n",
    );
    const read = pipeline.fromYaml(file);
    assert.ok(pipeline.fromYaml(read.toYaml()).equals(read));
    assert.match(read.toTypeScript(), /\.set\("transforms\.without_letter", \{ letter: "a" \}\)/);
    const { transforms } = pipelineJsonSchema().properties as {
      transforms: { properties: Record<string, { properties: Record<string, unknown> }> };
    };
    assert.ok("letter" in transforms.properties.without_letter.properties);
    await using engine = await read.deploy({ model: MODEL });
    const text = await engine.generate(PROMPT, { maxNewTokens: 12, temperature: 0 }).text();
    assert.match(text, /\w/);
    assert.doesNotMatch(text, /a/i);
    assert.throws(
      () =>
        pipeline.fromYaml(`plugins: [${EXAMPLE}]\ntransforms: { without_letter: { leter: a } }`),
      { message: /expected a known field, got "leter"/, hint: 'Did you mean "letter"?' },
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

slowTest("a server's answers obey the sampler of its pipeline", async () => {
  const over = pipeline().settings({ plugins: [EXAMPLE] }).set("transforms.without_letter", {
    letter: "e",
  });
  await using served = await serveStoryteller({}, {}, over);
  const { choices } = await served.client.completions.create({
    model: "storyteller",
    prompt: PROMPT,
    max_tokens: 12,
    temperature: 0,
  });
  assert.match(choices[0].text, /\w/);
  assert.doesNotMatch(choices[0].text, /e/i);
});

Deno.test("samplers know the prompt and the tokens made; biases and masks of all add up", async () => {
  const seen: { prompt?: Int32Array; made: number[][] } = { made: [] };
  let rule: DrawRule = {};
  const deployment = withSampler(() => (prompt) => {
    seen.prompt = prompt;
    return (made) => {
      seen.made.push([...made]);
      return rule;
    };
  });
  await using engine = await deployment.deploy({ model: MODEL });
  const draw = { maxNewTokens: 3, temperature: 0, ignoreEos: true };
  const free = await tokensOf(engine, draw);
  assert.deepEqual(seen.prompt, engine.encode(PROMPT));
  assert.deepEqual(seen.made, [[], free.slice(0, 1), free.slice(0, 2)]);
  await using plain = await pipeline().settings({ executor: "cpu", maxBatchSize: 2 })
    .deploy({ model: MODEL });
  assert.deepEqual(await tokensOf(plain, draw), free, "a rule that says nothing changes nothing");
  rule = { bias: new Map([[7, 1000]]) };
  assert.deepEqual(await tokensOf(engine, draw), [7, 7, 7]);
  const opposed = { ...draw, logitBias: { 7: -100 } };
  rule = { bias: new Map([[7, 50], [9, 1000]]) };
  assert.deepEqual(await tokensOf(engine, opposed), [9, 9, 9]);
  rule = { allowed: only(11, engine) };
  assert.deepEqual(await tokensOf(engine, draw), [11, 11, 11]);
  const allowedTokens = () => only(12, engine);
  await assert.rejects(tokensOf(engine, { ...draw, allowedTokens }), {
    message:
      "Cannot draw a token: expected samplers and constraints together to allow at least one token, got none",
  });
});

async function tokensOf(engine: Engine, options: object): Promise<number[]> {
  return (await Array.fromAsync(engine.generate(PROMPT, options))).map(({ token }) => token);
}

Deno.test("a sampler's mistake is an error of the request that names it, and the engine goes on", async () => {
  let rules: DrawRules = () => ({});
  await using engine = await withSampler(() => () => (made) => rules(made)).deploy({
    model: MODEL,
  });
  const words = Math.ceil(engine.vocabSize / 32);
  const wrong: readonly [DrawRules, RegExp][] = [
    [() => ({ allowed: new Uint32Array(words) }), /to allow at least one token, got none/],
    [() => ({ allowed: new Uint32Array(1) }), /to allow a Uint32Array of \d+ words or undefined/],
    [() => ({ bias: new Map([[engine.vocabSize, 1]]) }), /to name token ids from 0 to/],
    [() => ({ bias: new Map([[1, Infinity]]) }), /to add finite numbers to logits, got Infinity/],
    [() => {
      throw new Error("out of ideas");
    }, /to give a rule, got an error: out of ideas/],
  ];
  for (const [each, message] of wrong) {
    rules = each;
    await assert.rejects(
      engine.generate(PROMPT, { maxNewTokens: 1 }).text(),
      ({ code, message: text }: MixlineError) => {
        assert.equal(code, "request/allowed-tokens");
        assert.match(text, message);
        return text.includes('sampler "tests_sampler"');
      },
    );
  }
  rules = () => ({});
  assert.match(await engine.generate(PROMPT, { maxNewTokens: 4 }).text(), /\S/);
});

Deno.test("a sampler that does not open ends the deployment and is named", async () => {
  const deployment = withSampler(() => {
    throw new Error("no vocabulary of mine");
  });
  await assert.rejects(deployment.deploy({ model: MODEL }), {
    code: "config/sampler",
    message: 'Cannot open sampler "tests_sampler": no vocabulary of mine',
  });
  await using engine = await deployment.disable("tests_sampler" as "fuse_moe").deploy({
    model: MODEL,
  });
  assert.ok(engine.vocabSize > 0);
});
