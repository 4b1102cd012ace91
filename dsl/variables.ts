/**
 * The environment variables that begin with `MIXLINE_` and set no value of a pipeline: the one list of
 * them. A variable that is neither here nor a setting is an error, so that a misspelt one is seen.
 *
 * @module
 */

/** What environment variables of Mixline start with. */
export const ENVIRONMENT_PREFIX = "MIXLINE_";

/** Variables besides those of settings and fields, and what each is for. */
export const OTHER_VARIABLES: Readonly<Record<string, string>> = {
  MIXLINE_API_KEY: "Keys of `serve`, separated by commas",
  MIXLINE_TUNED_DIR: "Folder of your own tuned tables",
  MIXLINE_FUZZ: "Tests: how many mutated configurations are tried",
  MIXLINE_SLOW: "Tests: also those that take minutes",
  MIXLINE_CASES: "Tests: how many random cases are tried",
  MIXLINE_SEED: "Tests: where random cases begin",
  MIXLINE_UPDATE_SNAPSHOTS: "Tests: write the texts on record anew",
  MIXLINE_TEST_BROWSER: "Tests: the browser, set by the tests themselves",
  MIXLINE_TEST_GROUP: "Tests: the group to run, set by the tests themselves",
  MIXLINE_TEST_QUICK: "Tests: leave out what is slow, set by `--quick`",
  MIXLINE_TEST_WEBGPU: "Tests: whose WebGPU they run on, set by `--dawn`",
};
