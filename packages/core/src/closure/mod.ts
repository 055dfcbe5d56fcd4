export {
  type Captured,
  collectCode,
  createFunctionCustomizer,
  FunctionCustomizer,
  NOTHING_CAPTURED,
} from "./customizer.ts";
export {
  type Addresses,
  fileAddress,
  importFrom,
  moduleToImport,
  resolveImport,
  resolveRequire,
  useAddresses,
} from "./modules.ts";
export { noteApi } from "./origins.ts";
