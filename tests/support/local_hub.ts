/**
 * The Hugging Face hub as far as Mixline asks it, on 127.0.0.1.
 *
 * @module
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";

const MODEL = new URL("../golden/qwen3_moe/", import.meta.url);
const TOKENIZER = new URL("../golden/tokenizers/bytelevel_qwen/", import.meta.url);
export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const ID = "org/tiny-moe";

/** A hub with one model. */
export class LocalHub implements AsyncDisposable {
  readonly files = new Map<string, Uint8Array<ArrayBuffer>>();
  /** `path from-` of every file request but the library's probes. */
  readonly requests: string[] = [];
  /** Bytes after which answers to the next requests of weights break off. */
  readonly breaks: number[] = [];
  status = 200;
  /** Whether weights are at another address, as the public hub has them. */
  redirects = false;
  wrongHash = false;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  private constructor(readonly cacheDir: string) {
    this.#server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {}, onError: () => new Response() },
      (request) => this.#answer(request),
    );
  }

  static async start(): Promise<LocalHub> {
    const hub = new LocalHub(await Deno.makeTempDir());
    for (const name of ["config.json", "generation_config.json", "model.safetensors"]) {
      hub.files.set(name, await Deno.readFile(new URL(name, MODEL)));
    }
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
      hub.files.set(name, await Deno.readFile(new URL(name, TOKENIZER)));
    }
    hub.files.set("README.md", new TextEncoder().encode("# Not needed"));
    hub.files.set("pytorch_model.bin", new Uint8Array(10));
    return hub;
  }

  get options() {
    return { hubUrl: `http://127.0.0.1:${this.#server.addr.port}`, cacheDir: this.cacheDir };
  }

  /** Splits the weights' file name over an index, as large models have it. */
  shard(): void {
    const bytes = this.files.get("model.safetensors");
    assert.ok(bytes);
    this.files.delete("model.safetensors");
    this.files.set("model-00001-of-00001.safetensors", bytes);
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    const names = Object.keys(header).filter((name) => name !== "__metadata__");
    const weight_map = Object.fromEntries(
      names.map((name) => [name, "model-00001-of-00001.safetensors"]),
    );
    this.files.set(
      "model.safetensors.index.json",
      new TextEncoder().encode(JSON.stringify({ weight_map })),
    );
  }

  #answer(request: Request): Response {
    const { pathname } = new URL(request.url);
    if (this.status !== 200) return Response.json({ error: "no" }, { status: this.status });
    if (pathname === `/api/models/${ID}/revision/main`) {
      return Response.json({ _id: "1", id: ID, sha: COMMIT, lastModified: "2026-01-01" });
    }
    if (pathname === `/api/models/${ID}/tree/${COMMIT}`) return Response.json(this.#tree());
    const [, there] = pathname.split("/elsewhere/");
    const name = there ?? pathname.split(`/${ID}/resolve/${COMMIT}/`)[1];
    const bytes = name === undefined ? undefined : this.files.get(name);
    return bytes === undefined
      ? Response.json({ error: "not found" }, { status: 404 })
      : this.redirects && there === undefined && name.endsWith(".safetensors")
      ? this.#redirect(name, bytes)
      : this.#file(name, bytes, request.headers.get("range"));
  }

  /** What the public hub answers for a large file. */
  #redirect(name: string, bytes: Uint8Array): Response {
    return new Response(null, {
      status: 302,
      headers: {
        location: `/elsewhere/${name}`,
        "x-linked-etag": `"${sha256(bytes)}"`,
        "x-linked-size": `${bytes.length}`,
      },
    });
  }

  #tree() {
    return [...this.files].map(([path, bytes]) => ({
      type: "file",
      path,
      size: bytes.length,
      oid: createHash("sha1").update(bytes).digest("hex"),
      ...(path.endsWith(".safetensors") && {
        lfs: { oid: this.wrongHash ? "0".repeat(64) : sha256(bytes), size: bytes.length },
      }),
    }));
  }

  #file(name: string, bytes: Uint8Array<ArrayBuffer>, range: string | null): Response {
    const [, first = "0", last] = range?.match(/^bytes=(\d+)-(\d+)$/) ?? [];
    const part = bytes.subarray(
      Number(first),
      last === undefined ? bytes.length : Number(last) + 1,
    );
    const probe = range === "bytes=0-0";
    if (!probe) this.requests.push(`${name} ${first}-`);
    const cut = probe || !name.endsWith(".safetensors") ? undefined : this.breaks.shift();
    return new Response(cut === undefined ? part : broken(part.subarray(0, cut)), {
      status: range === null ? 200 : 206,
      headers: {
        etag: `"${name}"`,
        "content-range": `bytes ${first}-${Number(first) + part.length - 1}/${bytes.length}`,
        "content-length": `${part.length}`,
      },
    });
  }

  async [Symbol.asyncDispose]() {
    await this.#server.shutdown();
    await Deno.remove(this.cacheDir, { recursive: true });
  }

  async stop() {
    await this.#server.shutdown();
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A body that ends with an error. */
function broken(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    async pull(controller) {
      controller.enqueue(bytes);
      await new Promise((done) => setTimeout(done, 50)); // let what was sent arrive
      controller.error(new Error("the connection broke"));
    },
  });
}
