/* CUDA graphs for engine/diffusion/captured.c: what the rows launch is recorded instead of run, then replayed with one call. */
#include "engine/cuda/cuda.h"

bool rg_cuda_capture_begin(rg_ctx *c)
{
    if (rg_cuda_state_of(c)->must_sync)
        return false;
    return cudaStreamBeginCapture((cudaStream_t)c->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
}

void *rg_cuda_capture_end(rg_ctx *c)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t run = NULL;

    if (cudaStreamEndCapture((cudaStream_t)c->stream, &graph) != cudaSuccess || !graph || cudaGraphInstantiate(&run, graph, 0) != cudaSuccess)
        run = NULL;
    if (graph)
        cudaGraphDestroy(graph);
    cudaGetLastError();                 /* a capture that failed is no failure: the caller runs the ops themselves */
    return run;
}

void rg_cuda_capture_replay(rg_ctx *c, void *run)
{
    cudaGraphLaunch((cudaGraphExec_t)run, (cudaStream_t)c->stream);
    rg_cuda_check(c, "a captured graph");
}

void rg_cuda_capture_free(rg_ctx *c, void *run)
{
    cudaStreamSynchronize((cudaStream_t)c->stream);
    cudaGraphExecDestroy((cudaGraphExec_t)run);
}
