/*
 * Where the time goes. Off, it costs a load and a comparison per op.
 *   RG_PROFILE=1    time, bytes and floating-point operations per op, printed to stderr at the end of the process
 *   RG_PROFILE=cpu  the same in processor time, which other programs on the machine disturb less
 *   RG_TRACE=FILE   every op and every node as a span, in the format of chrome://tracing and Perfetto (JSON)
 *   RG_NVTX=1       the same spans for NVIDIA's profilers, on a GPU
 * The first three wait for the device before and after each op, so that a span is the op's own time; on a GPU their sum is more than an
 * undisturbed run takes. Spans come from any thread; each thread is a row of its own in the trace.
 */
#ifndef RG_OPS_PROFILE_H
#define RG_OPS_PROFILE_H

#include "engine/core/ctx.h"

/* Write a trace to this file from now on (as RG_TRACE does); it is finished when the process ends. RG_ERR_IO when it cannot be made. */
int rg_trace_open(const char *path);

/*
 * A span around anything longer than an op: a node, a model's load. Between begin and end on the same thread others may lie.
 *   begin returns a start to hand to end; 0 when nobody is looking
 */
double rg_span_begin(rg_ctx *c, const char *name);
void rg_span_end(rg_ctx *c, const char *name, double start);

/* An op's span, by RG_RUN (define.h). out tells how many bytes it wrote. */
double rg_profile_start(rg_ctx *c, const char *op);
void rg_profile_end(rg_ctx *c, const char *op, double start, const rg_tensor *out);

/* The floating-point operations of the row that this thread calls next: 2 for a multiplication with its addition. */
void rg_work(double flop);

/* All that rg_work() was told so far, by any thread. */
double rg_work_done(void);

/* True if ops are timed one by one. */
bool rg_is_profiling(void);

double rg_seconds(void);                /* a clock that only goes forward; processor time with RG_PROFILE=cpu */

#endif
