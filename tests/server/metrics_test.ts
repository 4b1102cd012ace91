import assert from "node:assert/strict";
import type { SchedulerStats } from "../../runtime/mod.ts";
import { zeroCounters } from "../../runtime/scheduling/scheduler_stats.ts";
import { ServerMetrics } from "../../server/metrics.ts";

Deno.test("totals stay what they were while the engine does not answer", async () => {
  const metrics = new ServerMetrics();
  const stats: SchedulerStats = {
    ...zeroCounters(),
    ...{ running: 2, maxRunning: 4, waiting: 1, reusedTokens: 48, preemptions: 3 },
    pages: { total: 8, used: 5, free: 3, remembered: 4, tokens: 16 },
  };
  metrics.observeEngine(stats);
  metrics.observeEngine(undefined);
  const text = await metrics.text();
  for (
    const line of [
      "mixline_prefix_reused_tokens_total 48",
      "mixline_preemptions_total 3",
      "mixline_sequences_running 0",
    ]
  ) assert.ok(text.includes(`\n${line}\n`), line);
});
