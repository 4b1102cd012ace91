/**
 * What `deno task test --quick` leaves out.
 *
 * @module
 */

/** Whether this run is to be quick. */
export const IS_QUICK: boolean = Deno.env.has("MIXLINE_TEST_QUICK");

/**
 * `Deno.test` for a test that a quick run leaves out, and counts: of a browser, of processes that are
 * killed, of servers under load, or of programs that are type-checked.
 */
export function slowTest(name: string, fn: Deno.TestDefinition["fn"]): void {
  if (IS_QUICK) Deno.test({ name: `${name} [left out: --quick]`, ignore: true, fn });
  else Deno.test(name, fn);
}
