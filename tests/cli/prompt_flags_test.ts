import assert from "node:assert/strict";
import { runCli } from "../support/cli.ts";
import { STORYTELLER } from "../support/model_folder.ts";

const FEW = ["--set", "max_batch_size=2"];
const GREEDY = [
  "deploy",
  "--model",
  STORYTELLER,
  "--executor",
  "cpu",
  ...FEW,
  "--temperature",
  "0",
];
const SHORT = [...GREEDY, "--max-new-tokens", "4"];
/** What the bundled model goes on with after "Once upon a time". */
const STORY = ", there was a";

async function withFile(text: string, body: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".txt" });
  try {
    await Deno.writeTextFile(path, text);
    await body(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("deploy reads prompts from standard input and from files, and writes no colours to pipes", () =>
  withFile("Once upon a time\n", async (path) => {
    const piped = await runCli([...SHORT, "-p", "-"], {
      redirect: `< ${path}`,
      env: { NO_COLOR: "", TERM: "xterm-256color" },
    });
    assert.equal(piped.stdout, `Once upon a time${STORY}\n`, piped.stderr);
    assert.ok(!piped.stderr.includes("\x1b"), "an escape sequence");
    const both = await runCli([...SHORT, "--json", "--prompt", "A", "--prompt-file", path]);
    const { results } = JSON.parse(both.stdout);
    assert.deepEqual(results.map(({ prompt }: { prompt: string }) => prompt), [
      "A",
      "Once upon a time",
    ]);
    assert.equal(results[1].text, STORY);
  }));

Deno.test("deploy takes a prompt by its token ids", async () => {
  const { stdout: text } = await runCli([...SHORT, "--json"]);
  const [{ promptTokens, tokens }] = JSON.parse(text).results;
  const { stdout } = await runCli([...SHORT, "--json", "--token-ids", tokens.join(",")]);
  const [byIds] = JSON.parse(stdout).results;
  assert.equal(byIds.prompt, `[${tokens.join(", ")}]`);
  assert.equal(byIds.promptTokens, tokens.length);
  assert.ok(promptTokens > 0);
});

Deno.test("deploy ends at a text of --stop", async () => {
  const { stdout } = await runCli([...GREEDY, "--stop", " was", "--stop", "zzz", "--json"]);
  const [{ text, finishReason }] = JSON.parse(stdout).results;
  assert.deepEqual([text, finishReason], [", there", "stop"]);
});

Deno.test("deploy --json has usage and log-probabilities, and progress is on stderr", async () => {
  const { stdout, stderr } = await runCli([...SHORT, "--json", "--logprobs", "2"]);
  const [{ usage, logprobs, tokens }] = JSON.parse(stdout).results;
  assert.deepEqual(usage, {
    promptTokens: usage.promptTokens,
    completionTokens: 4,
    totalTokens: usage.promptTokens + 4,
  });
  assert.equal(logprobs.length, tokens.length);
  assert.match(JSON.stringify(logprobs[0]), /-?\d/);
  assert.match(stderr, /^model .*storyteller/m);
  assert.match(stderr, /^4 tokens after/m);
  const quiet = await runCli([...SHORT, "--json", "--quiet"]);
  assert.equal(quiet.stderr, "");
});

for (
  const [flags, message] of [
    [
      ["--token-ids", "1,x"],
      /"--token-ids": expected whole numbers from 0, with commas, got "1,x"/,
    ],
    [["--token-ids", "1", "--chat"], /"--token-ids": expected prompts of a chat as texts/],
    [["--prompt-file", "/no/such/file"], /"--prompt-file": expected a text file, got "\/no\/such/],
    [["-p", "-", "-p", "-"], /"--prompt": expected "-" once/],
    [["--logprobs", "1"], /"--logprobs": expected --json beside it, got none/],
    [["--top-p", "3"], /flag "--top-p"/],
  ] as const
) {
  Deno.test(`deploy refuses ${flags.join(" ")} in the words of the flag`, async () => {
    const { code, stdout, stderr } = await runCli([...SHORT, ...flags]);
    assert.equal(code, 2, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, message);
  });
}

Deno.test("requests that cannot be served are refused before weights are read", async () => {
  const cases = [
    [["-p", ""], /expected a prompt of at least 1 token, got 0/],
    [["--token-ids", "1,99999999"], /token 1 of the prompt: expected an id from 0 to 2047/],
    [["-n", "99999"], /expected at most 1024 together.*\nhint: Lower --max-new-tokens/],
    [["--chat", "-p", "word ".repeat(1100)], /expected a prompt of at most 1023 tokens/],
  ] as const;
  for (const [flags, message] of cases) {
    const { code, stdout, stderr } = await runCli([...SHORT, ...flags]);
    assert.equal(code, 2, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /^(weights|ready) /m);
  }
});
