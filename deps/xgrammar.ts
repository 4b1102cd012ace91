/**
 * Grammars over tokens, for answers that have to be JSON. The library is C++ in WebAssembly.
 *
 * Its package says that its files are modules, and they are scripts for CommonJS (version 0.1.27), so
 * `import` cannot read them: the text is run as CommonJS would. A schema that it does not know ends
 * its WebAssembly for good, so that every opening gives a new instance.
 *
 * @module
 */

import { createRequire } from "node:module";
import type * as Library from "npm:@mlc-ai/web-xgrammar@0.1.27";
import source from "npm:@mlc-ai/web-xgrammar@0.1.27/lib/index.js" with { type: "text" };

/** What the library exports. */
export type XGrammar = Pick<
  typeof Library,
  "Grammar" | "GrammarCompiler" | "GrammarMatcher" | "TokenizerInfo"
>;

export type {
  CompiledGrammar,
  GrammarCompiler,
  GrammarMatcher,
} from "npm:@mlc-ai/web-xgrammar@0.1.27";

/** A new instance of the library. */
export function openXGrammar(): XGrammar {
  const run = new Function("exports", "module", "require", "__filename", "__dirname", source);
  const module: { exports: Partial<XGrammar> } = { exports: {} };
  run(module.exports, module, createRequire(import.meta.url), "/xgrammar.js", "/");
  const { Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo } = module.exports;
  if (Grammar && GrammarCompiler && GrammarMatcher && TokenizerInfo) {
    return { Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo };
  }
  throw new Error(
    "npm:@mlc-ai/web-xgrammar exports no grammars (this is a bug in Mixline, please report it)",
  );
}
