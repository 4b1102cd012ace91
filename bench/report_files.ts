/**
 * The two files of a report.
 *
 * @module
 */

import { writeOutputFile } from "../runtime/mod.ts";
import type { Report } from "./report_data.ts";

/** Where a report goes. */
export interface ReportFiles {
  /** The JSON file with all numbers. */
  readonly numbers: string;
  /** The page with pictures. */
  readonly page: string;
}

/** The text of the JSON file. */
export function documentOf(report: Report): string {
  return `${JSON.stringify(report, null, 2)}\n`;
}

/**
 * Writes both: first what took the time, then its picture, so that what is wrong with the page costs no
 * measurement.
 *
 * @throws {OutputError} for a file that cannot be written; the one that was there before is whole.
 */
export async function writeReportFiles(
  { numbers, page }: ReportFiles,
  report: Report,
  drawPage: () => Promise<string>,
): Promise<void> {
  writeOutputFile(numbers, documentOf(report));
  writeOutputFile(page, await drawPage());
}
