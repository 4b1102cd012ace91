/** A script outside of the project, which imports `mod.ts` by its path. */

import { ROOT } from "./root.ts";

/** Prints the beginning of a story as JSON. `dsl/plugins_test.ts` checks its types, `outside_test.ts` runs it. */
export const STORY_SCRIPT = `
import { pipeline } from ${JSON.stringify(new URL("mod.ts", ROOT).href)};

const model = ${JSON.stringify(decodeURIComponent(new URL("demo/storyteller", ROOT).pathname))};
await using engine = await pipeline()
  .fuseMoe({ backend: "triton" })
  .deploy({ model, executor: "cpu" });
let text = "";
for await (const piece of engine.generate("Once upon a time", { maxNewTokens: 4, temperature: 0 })) {
  text += piece.text;
}
console.log(JSON.stringify(text));
`;
