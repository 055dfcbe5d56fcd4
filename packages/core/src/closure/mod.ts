export { collectCode, createFunctionCustomizer, FunctionCustomizer } from "./customizer.ts";
export { moduleToImport } from "./modules.ts";
export { noteApi } from "./origins.ts";
