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
  importedModule,
  importFrom,
  mainModuleUrl,
  moduleToImport,
  resolveImport,
  resolveRequire,
  useAddresses,
  workingFolderUrl,
} from "./modules.ts";
export { noteApi } from "./origins.ts";
