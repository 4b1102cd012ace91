import { runCli } from "../support/cli.ts";

for (const args of [["--help"], ["deploy", "--help"], ["inspect", "--help"]]) {
  Deno.test(`main() prints the help of "${args.join(" ")}"`, async (t) => {
    const { code, stdout, stderr } = await runCli(args);
    await t.assertSnapshot({ code, stdout, stderr });
  });
}
