/** Named limits and defaults that more than one room relies on. Units are in the names. */

/** Values up to this size travel inside messages; larger ones go through the object store. */
export const INLINE_BYTES_MAX = 100 * 1024;
/** All inline arguments of one call together. */
export const INLINE_CALL_BYTES_MAX = 10 * 1024 * 1024;
/** Namespaces that begin so are of the runtime's own drivers, such as the one that looks after submitted jobs. */
export const OWN_NAMESPACES = "mobula-";
/** A frame above this is refused: the peer is broken or hostile. */
export const FRAME_BYTES_MAX = 64 * 1024 * 1024;
/** Until a peer has authenticated, its frames are at most this long. */
export const HANDSHAKE_BYTES_MAX = 64 * 1024;
export const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Buffers of at least this size are stored out of band and read as views of their own. */
export const VIEW_BYTES_MIN = 64 * 1024;
/** Out-of-band buffers start at multiples of this. */
export const BUFFER_ALIGNMENT_BYTES = 64;
export const LEASE_IDLE_MS = 500;
export const TASK_MAX_RETRIES = 3;
export const MAX_PENDING_TASKS = 1_000_000;
export const INFEASIBLE_TIMEOUT_MS = 10_000;
export const PUT_TIMEOUT_MS = 10_000;
/** So long work waits without room anywhere before work of lower priority of other jobs is ended for it. */
export const PREEMPT_AFTER_MS = 2_000;
/** So long what is to end for it may go on to its end, and then so long after its signal was aborted. */
export const PREEMPT_NOTICE_MS = 500;
export const PREEMPT_GRACE_MS = 2_000;
export const STREAM_BUFFER_ITEMS = 16;
export const SHARED_ACTORS_PER_WORKER_MAX = 2_000;
export const ACTOR_SHUTDOWN_MS = 30_000;

/** Arguments on one node from so many bytes on draw the task there: less is fetched sooner than a worker starts. */
export const LARGE_ARGUMENTS_BYTES = 4 * 2 ** 20;
