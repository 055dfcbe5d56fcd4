export { callSite } from "./call-site.ts";
export { Client, nodeLostError } from "./client.ts";
export { DirectPort } from "./direct-port.ts";
export { askedBy, currentExecution, type Execution, leaveExecution, runAs } from "./execution.ts";
export { errorFromBytes, failureOf, prepareArrived } from "./failures.ts";
export { expectHandle, Handle, type HandleMeta, handleState, type MethodMeta } from "./handles.ts";
export { answerInspection, endInspection } from "./inspection.ts";
export { setMethodOverrides, trackMore } from "./method-calls.ts";
export type { OwnerPort } from "./port.ts";
export { Ref } from "./refs.ts";
export { RefStream } from "./streams.ts";
export { flushTraces, TraceContext, type TracedRun, Tracing, type TracingApi, takeTrace } from "./tracing.ts";
export {
  type ArgsWithCode,
  type EncodedArgs,
  NO_CODE,
  type PackedCode,
  type SerializerList,
  shipByCustomizer,
} from "./values.ts";
