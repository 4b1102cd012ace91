/**
 * Structured logs.
 *
 * @module
 */

export {
  configure as configureLogs,
  dispose as disposeLogs,
  getAnsiColorFormatter,
  getLogger,
  type Logger,
  type LogRecord,
} from "npm:@logtape/logtape@2.4.2";
