export {
  type CodeNeeds,
  collectCode,
  createFunctionCustomizer,
  FunctionCustomizer,
  type FunctionCustomizerOptions,
} from "./customizer.ts";
export { moduleToImport } from "./modules.ts";
export { CAPTURED_FUNCTIONS_MAX, CAPTURED_SOURCE_BYTES_MAX } from "./session.ts";
