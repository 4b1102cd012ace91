/**
 * An engine's process that computes nothing: it speaks the protocol, and says what the prompt asks
 * for. The last message or the text of a prompt is a script, one command a line:
 *
 * - `say <text>`: one piece; `think <text>`: one of reasoning
 * - `call <name> <json>`: a whole call of a tool
 * - `wait <milliseconds>`, `count <n>`: pieces `0 1 2 ...`, each after a millisecond
 * - `fail <status>`: an error; `exit <code>`: the process ends; `hang`: nothing more comes
 *
 * @module
 */

import type {
  EngineCall,
  EngineEvent,
  WireError,
  WirePiece,
} from "../../server/engine/protocol.ts";
import { encodeLine, readLines } from "../../server/engine/protocol.ts";

/** Two layers of four experts; four tokens that chose two each. */
const LAYERS = [
  { scope: "model.layers.0.mlp", counts: [4, 0, 3, 1] },
  { scope: "model.layers.1.mlp", counts: [2, 2, 2, 2] },
];

const encoder = new TextEncoder();
const send = (event: EngineEvent) => Deno.stdout.writeSync(encoder.encode(encodeLine(event)));
const cancelled = new Set<number>();
let running = 0;

if (import.meta.main) await main();

async function main(): Promise<void> {
  for await (const line of readLines(Deno.stdin.readable)) take(JSON.parse(line));
}

function take(call: EngineCall): void {
  switch (call.kind) {
    case "open":
      return open(call.yaml);
    case "cancel":
      cancelled.add(call.id);
      return;
    case "encode":
      send({
        kind: "tokens",
        id: call.id,
        tokens: [...scriptOf(call.prompt)].map((c) => c.charCodeAt(0)),
      });
      return;
    case "decode":
      send({ kind: "text", id: call.id, text: String.fromCharCode(...call.tokens) });
      return;
    case "stats":
      send({ kind: "stats", id: call.id, stats: statsOf(running) });
      return;
    case "experts":
      send({ kind: "experts", id: call.id, layers: LAYERS });
      return;
    case "generate":
      void generate(call);
  }
}

function open(yaml: string): void {
  const delay = Number(yaml.match(/delay (\d+)/)?.[1] ?? 0);
  setTimeout(() =>
    send({
      kind: "ready",
      info: {
        model: "scripted",
        executor: "cpu",
        device: "none",
        vocabSize: 256,
        maxSequenceTokens: 1024,
        chats: true,
        thinkingSwitch: true,
        report: { bytes: { weights: 1 } },
      },
    }), delay);
}

async function generate(
  { id, prompt, options }: Extract<EngineCall, { kind: "generate" }>,
): Promise<void> {
  running++;
  let [made, reasoningTokens] = [0, 0];
  const most = options.maxNewTokens ?? 1000;
  const piece = (fields: Partial<WirePiece>) => {
    if (made++ >= most) return;
    if (fields.reasoning !== undefined) reasoningTokens++;
    const text = fields.text ?? "";
    const drawn = { token: text, bytes: [...encoder.encode(text)], logprob: -0.5 };
    const logprobs = options.logprobs === undefined ? {} : { logprobs: { ...drawn, top: [drawn] } };
    send({ kind: "piece", id, piece: { token: 65, text: "", ...fields, ...logprobs } });
  };
  try {
    for (const line of scriptOf(prompt).split("\n")) {
      await run(line, piece, () => cancelled.has(id) || made > most);
      if (cancelled.has(id)) {
        throw failure("request/aborted", "Cannot go on: expected a reader, got none", 499);
      }
    }
    const finishReason = made > most ? "length" : "stop";
    const promptTokens = scriptOf(prompt).length;
    const completionTokens = Math.min(made, most);
    const used = { promptTokens, reusedTokens: 0, completionTokens, reasoningTokens };
    send({ kind: "end", id, end: { finishReason, ...used } });
  } catch (error) {
    send({ kind: "error", id, error: asWire(error) });
  } finally {
    running--;
  }
}

async function run(line: string, piece: (fields: Partial<WirePiece>) => void, over: () => boolean) {
  const [, command = "", rest = ""] = line.match(/^(\w+) ?(.*)$/) ?? [];
  switch (command) {
    case "say":
      return piece({ text: rest });
    case "think":
      return piece({ reasoning: rest });
    case "call": {
      const [, name = "", json = "{}"] = rest.match(/^(\S+) (.*)$/) ?? [];
      return piece({ toolCalls: [{ name, arguments: JSON.parse(json) }] });
    }
    case "count":
      for (let i = 0; i < Number(rest) && !over(); i++) {
        piece({ text: `${i} ` });
        await sleep(1);
      }
      return;
    case "wait":
      return await sleep(Number(rest));
    case "hang":
      while (!over()) await sleep(5);
      return;
    case "exit":
      Deno.exit(Number(rest));
      break;
    case "fail":
      throw failure("engine/scripted", `Cannot go on: expected success, got ${rest}`, Number(rest));
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function failure(code: string, message: string, status: number): Error {
  return new Error(message, { cause: { code, message, status, exitCode: 1 } satisfies WireError });
}

function asWire(error: unknown): WireError {
  const cause = error instanceof Error ? error.cause : undefined;
  const isWire = typeof cause === "object" && cause !== null && "code" in cause &&
    "status" in cause;
  return {
    code: isWire ? String(cause.code) : "engine/bug",
    message: error instanceof Error ? error.message : String(error),
    status: isWire ? Number(cause.status) : 500,
    exitCode: 1,
  };
}

/** The script in a prompt: its text, or the last message's. */
function scriptOf(prompt: unknown): string {
  if (typeof prompt === "string") return prompt;
  if (!Array.isArray(prompt)) return "";
  const last: unknown = prompt.at(-1);
  if (typeof last === "number") return String.fromCharCode(...prompt);
  const isMessage = typeof last === "object" && last !== null && "content" in last;
  if (!isMessage) return "";
  const { content } = last;
  return Array.isArray(content) ? content.map((part) => part.text).join("") : String(content ?? "");
}

function statsOf(count: number) {
  return {
    running: count,
    maxRunning: 64,
    waiting: 0,
    pages: { total: 8, used: count, free: 8 - count, remembered: 0, tokens: 16 },
    steps: 0,
    prefillTokens: 0,
    prefillSeconds: 0,
    decodeTokens: 0,
    decodeSeconds: 0,
    generatedTokens: 0,
    promptTokens: 0,
    reusedTokens: 0,
    preemptions: 0,
    finished: 0,
    failed: 0,
    cancelled: 0,
    refused: 0,
  };
}
