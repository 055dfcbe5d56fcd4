export {
  type Captured,
  collectCode,
  createFunctionCustomizer,
  FunctionCustomizer,
  NOTHING_CAPTURED,
} from "./customizer.ts";
export { moduleToImport } from "./modules.ts";
export { noteApi } from "./origins.ts";
