/**
 * llama.cpp's logits of a GGUF file, on the CPU, through the libraries of npm's
 * `@node-llama-cpp/linux-x64` 3.22.1. For generators of goldens alone.
 *
 * Structs are passed by value in memory, so one that is larger than the library's own does no harm.
 *
 * @module
 */

const STRUCT = { struct: Array.from({ length: 40 }, () => "u64" as const) };
/** `struct llama_batch`. */
const BATCH = { struct: Array.from({ length: 7 }, () => "u64" as const) };

/** Opens the libraries of a folder. */
export function openLlama(folder: string) {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  const find = (start: string) => `${folder}/${names.find((name) => name.startsWith(start))}`;
  const ggml = Deno.dlopen(find("libggml.v"), {
    ggml_backend_load: { parameters: ["buffer"], result: "pointer" },
  });
  const llama = Deno.dlopen(find("libllama.v"), {
    llama_backend_init: { parameters: [], result: "void" },
    llama_model_default_params: { parameters: [], result: STRUCT },
    llama_model_load_from_file: { parameters: ["buffer", STRUCT], result: "pointer" },
    llama_context_default_params: { parameters: [], result: STRUCT },
    llama_init_from_model: { parameters: ["pointer", STRUCT], result: "pointer" },
    llama_batch_get_one: { parameters: ["buffer", "i32"], result: BATCH },
    llama_decode: { parameters: ["pointer", BATCH], result: "i32" },
    llama_get_logits_ith: { parameters: ["pointer", "i32"], result: "pointer" },
    llama_free: { parameters: ["pointer"], result: "void" },
    llama_model_free: { parameters: ["pointer"], result: "void" },
  });
  const text = (value: string) => new TextEncoder().encode(`${value}\0`);
  // The plainest backend: every machine runs it, and it rounds least.
  ggml.symbols.ggml_backend_load(text(`${folder}/libggml-cpu-x64.so`));
  const { symbols } = llama;
  symbols.llama_backend_init();
  return {
    /** Logits after the last of some tokens. */
    lastLogits(path: string, tokens: readonly number[], vocabSize: number): Float32Array<ArrayBuffer> {
      const model = symbols.llama_model_load_from_file(
        text(path),
        symbols.llama_model_default_params(),
      );
      if (!model) throw new Error(`llama.cpp does not load ${path}`);
      const context = symbols.llama_init_from_model(model, symbols.llama_context_default_params());
      if (!context) throw new Error("no context");
      const ids = Int32Array.from(tokens);
      const status = symbols.llama_decode(context, symbols.llama_batch_get_one(ids, ids.length));
      const pointer = symbols.llama_get_logits_ith(context, -1);
      if (status !== 0 || !pointer) throw new Error(`llama_decode gave ${status}`);
      const bytes = Deno.UnsafePointerView.getArrayBuffer(pointer, 4 * vocabSize).slice(0);
      symbols.llama_free(context);
      symbols.llama_model_free(model);
      return new Float32Array(bytes);
    },
  };
}
