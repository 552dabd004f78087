/*
 * The emulated device: memory, streams, events, graphs, and kernels.
 *
 * DESIGN. A stream is a queue of closures that nothing runs until somebody waits for it (RG_EMULATED_ORDER=lazy, the default): a result
 * read too early is still the 0xff that fresh memory is filled with, which is NaN in every float type. Other orders find what laziness
 * hides: eager runs everything at once, random:SEED runs the heads of streams now and then. Copies from pageable memory take their bytes
 * at the call, from pinned memory when they run, as the real ones may. A block's threads are fibers, switched at barriers and shuffles only.
 */
#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda_runtime.h"

static std::recursive_mutex lock;
#define LOCKED std::lock_guard<std::recursive_mutex> guard(lock)

static cudaError_t last_error = cudaSuccess;

static cudaError_t failed(cudaError_t e)
{
    last_error = e;
    return e;
}

static void broken(const char *what)
{
    fprintf(stderr, "emulated device: %s\n", what);
    abort();
}

/* ---- fibers ----------------------------------------------------------------------------------------------------------------- */

dim3 threadIdx, blockIdx, blockDim, gridDim;

enum { STACK_BYTES = 256 << 10, WARP = 32, MAX_THREADS = 1024 };

/*
 * Where a fiber or the scheduler stands. swapcontext() asks the system about signals each time, which is most of a barrier's cost; a jump
 * does not. The address sanitizer knows the former alone.
 */
struct place {
    ucontext_t context;
    jmp_buf jump;
    bool is_fresh = true;               /* entered by its context, not by a jump */
};

struct fiber {
    place at;
    char *stack = nullptr;
    int thread = -1;                    /* -1: idle */
    int waits_block = -1, waits_warp = -1;      /* the generation it waits for the end of, or -1 */
};

static place scheduler;
static std::vector<fiber *> &fibers = *new std::vector<fiber *>;    /* for the life of the process */
static fiber *current;
static const std::function<void()> *kernel;
static int n_threads, next_thread;
static const char *kernel_name;

static struct { int generation, n_arrived, n_live; } block_barrier;
static struct { int generation, n_arrived, n_live; unsigned char slots[2][WARP][16]; } warps[MAX_THREADS / WARP];

static void switch_to(place *from, place *to)
{
#ifdef __SANITIZE_ADDRESS__
    swapcontext(&from->context, &to->context);
#else
    if (to->is_fresh) {
        to->is_fresh = false;
        if (!_setjmp(from->jump))
            setcontext(&to->context);
    } else if (!_setjmp(from->jump)) {
        _longjmp(to->jump, 1);
    }
#endif
}

static void take_thread(int t)
{
    threadIdx = dim3((unsigned)t % blockDim.x, (unsigned)t / blockDim.x % blockDim.y, (unsigned)t / (blockDim.x * blockDim.y));
}

static void open_if_complete(int warp)
{
    if (warps[warp].n_live && warps[warp].n_arrived == warps[warp].n_live) {
        warps[warp].n_arrived = 0;
        warps[warp].generation++;
    }
    if (block_barrier.n_live && block_barrier.n_arrived == block_barrier.n_live) {
        block_barrier.n_arrived = 0;
        block_barrier.generation++;
    }
}

/* A fiber's life: threads one after the other until one blocks; after that, its rest, and on. */
static void fiber_main(void)
{
    for (;;) {
        while (next_thread < n_threads) {
            const int t = next_thread++;
            current->thread = t;
            take_thread(t);
            (*kernel)();
            block_barrier.n_live--;
            warps[t / WARP].n_live--;
            open_if_complete(t / WARP);
        }
        current->thread = -1;
        switch_to(&current->at, &scheduler);
    }
}

static void wait_here(void)
{
    fiber *me = current;

    switch_to(&me->at, &scheduler);
    take_thread(me->thread);
}

void __syncthreads(void)
{
    const int generation = block_barrier.generation;

    block_barrier.n_arrived++;
    open_if_complete(current->thread / WARP);
    if (block_barrier.generation == generation) {
        current->waits_block = generation;
        wait_here();
    }
}

void emu_warp_exchange(const void *mine, void *theirs, size_t size, int source)
{
    const int warp = current->thread / WARP, lane = current->thread % WARP, generation = warps[warp].generation;

    memcpy(warps[warp].slots[generation & 1][lane], mine, size);
    warps[warp].n_arrived++;
    open_if_complete(warp);
    if (warps[warp].generation == generation) {
        current->waits_warp = generation;
        wait_here();
    }
    memcpy(theirs, warps[warp].slots[generation & 1][source], size);
}

static void resume(fiber *f)
{
    current = f;
    scheduler.is_fresh = false;
    switch_to(&scheduler, &f->at);
}

static fiber *idle_fiber(void)
{
    for (fiber *f : fibers)
        if (f->thread < 0)
            return f;
    fiber *f = new fiber;
    f->stack = (char *)malloc(STACK_BYTES);
    getcontext(&f->at.context);
    f->at.context.uc_stack.ss_sp = f->stack;
    f->at.context.uc_stack.ss_size = STACK_BYTES;
    f->at.context.uc_link = nullptr;
    makecontext(&f->at.context, fiber_main, 0);
    fibers.push_back(f);
    return f;
}

static void run_block(void)
{
    block_barrier = { 0, 0, n_threads };
    for (int w = 0; w * WARP < n_threads; w++) {
        warps[w].generation = warps[w].n_arrived = 0;
        warps[w].n_live = n_threads - w * WARP < WARP ? n_threads - w * WARP : WARP;
    }
    next_thread = 0;
    while (block_barrier.n_live > 0) {
        bool moved = false;
        if (next_thread < n_threads) {
            resume(idle_fiber());
            moved = true;
        } else {
            for (size_t i = 0; i < fibers.size(); i++) {
                fiber *f = fibers[i];
                if (f->thread < 0)
                    continue;
                const bool is_free = f->waits_block >= 0 ? block_barrier.generation != f->waits_block : warps[f->thread / WARP].generation != f->waits_warp;
                if (!is_free)
                    continue;
                f->waits_block = f->waits_warp = -1;
                resume(f);
                moved = true;
            }
        }
        if (!moved) {
            fprintf(stderr, "emulated device: threads of %s wait for each other\n", kernel_name);
            abort();
        }
    }
}

static void run_kernel(dim3 grid, dim3 block, const std::function<void()> &body, const char *name)
{
    kernel = &body;
    kernel_name = name;
    gridDim = grid;
    blockDim = block;
    n_threads = (int)(block.x * block.y * block.z);
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = dim3(x, y, z);
                run_block();
            }
}

/* ---- memory -------------------------------------------------------------------------------------------------------------------- */

#ifdef __SANITIZE_ADDRESS__
enum { EDGE = 0 };                      /* the sanitizer's own red zones are narrower than ours would be wide */
#else
enum { EDGE = 256 };
#endif

struct block_of_memory { char *base; size_t n; bool is_host; };
static std::map<char *, block_of_memory> memory;       /* by the address handed out */
static size_t device_bytes;

static size_t budget(void)
{
    const char *s = getenv("RG_EMULATED_BYTES");
    return s ? (size_t)strtoull(s, nullptr, 10) : (size_t)8 << 30;
}

static cudaError_t take(void **data, size_t n, bool is_host)
{
    char *base = (char *)aligned_alloc(256, (n + 2 * EDGE + 255) / 256 * 256);
    if (!base)
        return failed(cudaErrorMemoryAllocation);
#ifdef __SANITIZE_ADDRESS__
    free(base);
    if (posix_memalign((void **)&base, 256, n ? n : 1))
        return failed(cudaErrorMemoryAllocation);
#endif
    memset(base, 0xa5, EDGE);
    memset(base + EDGE, 0xff, n);
    memset(base + EDGE + n, 0xa5, EDGE);
    memory[base + EDGE] = { base, n, is_host };
    *data = base + EDGE;
    return cudaSuccess;
}

static void check_edges(const block_of_memory &b)
{
    for (int i = 0; i < EDGE; i++)
        if ((unsigned char)b.base[i] != 0xa5 || (unsigned char)b.base[EDGE + b.n + i] != 0xa5)
            broken("something wrote past the edge of a block");
}

static const block_of_memory *block_at(const void *p)
{
    auto it = memory.upper_bound((char *)p);
    if (it == memory.begin())
        return nullptr;
    --it;
    return (char *)p < it->first + it->second.n ? &it->second : nullptr;
}

static void must_be_device(const void *p, size_t n, const char *what)
{
    const block_of_memory *b = block_at(p);
    if (n && (!b || b->is_host || (char *)p + n > b->base + EDGE + b->n))
        broken(what);
}

/* ---- streams, events, graphs ---------------------------------------------------------------------------------------------------- */

struct operation {
    std::function<void()> run;          /* empty for the next two */
    cudaEvent_t record = nullptr, wait = nullptr;
    long generation = 0;
};
struct emu_event { long n_recorded = 0, n_done = 0; cudaStream_t stream = nullptr; };
struct emu_stream {
    std::deque<operation> queue;
    bool is_capturing = false, is_invalid = false;
    std::shared_ptr<std::vector<operation>> captured;
};
struct emu_graph { std::shared_ptr<std::vector<operation>> ops; };

static std::vector<cudaStream_t> streams;
static int n_capturing;

static void run_one(cudaStream_t s)
{
    operation op = std::move(s->queue.front());
    s->queue.pop_front();
    if (op.run)
        op.run();
    if (op.record)
        op.record->n_done = op.generation;
    while (op.wait && op.wait->n_done < op.generation) {
        if (!op.wait->stream || op.wait->stream->queue.empty())
            broken("a stream waits for an event that nobody will record");
        run_one(op.wait->stream);
    }
}

static void run_all(cudaStream_t s)
{
    while (!s->queue.empty())
        run_one(s);
}

static void run_everything(void)
{
    for (cudaStream_t s : streams)
        run_all(s);
}

static bool is_runnable(const operation &op)
{
    return !op.wait || op.wait->n_done >= op.generation;
}

static void enqueue(cudaStream_t s, operation op)
{
    static const char *order = getenv("RG_EMULATED_ORDER");
    static unsigned random = order && !strncmp(order, "random:", 7) ? (unsigned)atoi(order + 7) * 2 + 1 : 0;

    if (s->is_capturing) {
        s->captured->push_back(std::move(op));
        return;
    }
    s->queue.push_back(std::move(op));
    if (order && !strcmp(order, "eager"))
        run_everything();
    for (int i = 0; random && i < 4; i++) {
        random = random * 1664525u + 1013904223u;
        cudaStream_t other = streams[(random >> 16) % streams.size()];
        if ((random >> 8 & 3) == 0 && !other->queue.empty() && is_runnable(other->queue.front()))
            run_one(other);
    }
}

/* What a capture does not allow on this thread. */
static bool breaks_capture(void)
{
    for (cudaStream_t s : streams)
        if (s->is_capturing)
            s->is_invalid = true;
    return n_capturing > 0;
}

extern "C" {

/* For the emulated libraries: work on a stream. */
void emu_enqueue(cudaStream_t s, std::function<void()> *work)
{
    LOCKED;
    operation op;
    op.run = std::move(*work);
    delete work;
    enqueue(s, std::move(op));
}

cudaError_t emu_launch(dim3 grid, dim3 block, size_t shared, cudaStream_t s, std::function<void()> *body, const char *name)
{
    LOCKED;
    std::function<void()> f = std::move(*body);
    delete body;
    const size_t n = (size_t)block.x * block.y * block.z;
    if (!s)
        broken("a kernel on the default stream");
    if (n == 0 || n > MAX_THREADS || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
        grid.z > 65535 || shared > 48 << 10)
        return failed(cudaErrorInvalidValue);
    operation op;
    op.run = [=]() { run_kernel(grid, block, f, name); };
    enqueue(s, std::move(op));
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    LOCKED;
    const cudaError_t e = last_error;
    last_error = cudaSuccess;
    return e;
}

const char *cudaGetErrorString(cudaError_t e)
{
    static const char *const names[] = { "no error", "invalid value", "out of memory", "not ready", "launch failure",
                                         "not permitted when stream is capturing", "capture invalidated", "graph update failure" };
    return names[e];
}

cudaError_t cudaGetDeviceCount(int *n) { *n = 1; return cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : failed(cudaErrorInvalidValue); }
cudaError_t cudaGetDevice(int *device) { *device = 0; return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version) { *version = 13000; return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { *version = 13000; return cudaSuccess; }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "emulated device");
    p->totalGlobalMem = budget();
    p->major = 9;
    p->multiProcessorCount = 2;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int)
{
    *value = attribute == cudaDevAttrMultiProcessorCount ? 2 : attribute == cudaDevAttrMaxThreadsPerMultiProcessor ? 2048
           : attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **data, size_t n)
{
    LOCKED;
    if (breaks_capture())
        return failed(cudaErrorStreamCaptureUnsupported);
    if (device_bytes + n > budget())
        return failed(cudaErrorMemoryAllocation);
    const cudaError_t e = take(data, n, false);
    if (e == cudaSuccess)
        device_bytes += n;
    return e;
}

static cudaError_t give_back(void *data, bool is_host)
{
    if (!data)
        return cudaSuccess;
    if (breaks_capture())
        return failed(cudaErrorStreamCaptureUnsupported);
    run_everything();
    auto it = memory.find((char *)data);
    if (it == memory.end() || it->second.is_host != is_host)
        broken("a free of something that was not allocated");
    check_edges(it->second);
    if (!is_host)
        device_bytes -= it->second.n;
    memset(it->first, 0xfe, it->second.n);
    free(it->second.base);
    memory.erase(it);
    return cudaSuccess;
}

cudaError_t cudaFree(void *data) { LOCKED; return give_back(data, false); }
cudaError_t cudaFreeHost(void *data) { LOCKED; return give_back(data, true); }

cudaError_t cudaHostAlloc(void **data, size_t n, unsigned)
{
    LOCKED;
    return breaks_capture() ? failed(cudaErrorStreamCaptureUnsupported) : take(data, n, true);
}

cudaError_t cudaMemGetInfo(size_t *n_free, size_t *n_total)
{
    LOCKED;
    *n_total = budget();
    *n_free = *n_total - device_bytes;
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind, cudaStream_t s)
{
    LOCKED;
    operation op;
    bool is_pageable = false;

    if (!s)
        broken("a copy on the default stream");
    if (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice)
        must_be_device(to, n, "a copy to what is no device memory, or past its end");
    if (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice)
        must_be_device(from, n, "a copy from what is no device memory, or past its end");
    if (kind == cudaMemcpyHostToDevice)
        is_pageable = !block_at(from);
    if (kind == cudaMemcpyDeviceToHost)
        is_pageable = !block_at(to);
    if (is_pageable && s->is_capturing) {
        breaks_capture();
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    if (kind == cudaMemcpyHostToDevice && is_pageable) {
        auto bytes = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + n);
        op.run = [=]() { memcpy(to, bytes->data(), n); };
    } else {
        op.run = [=]() { memmove(to, from, n); };
    }
    enqueue(s, std::move(op));
    if (kind == cudaMemcpyDeviceToHost && is_pageable)
        run_all(s);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t n, cudaStream_t s)
{
    LOCKED;
    operation op;
    must_be_device(to, n, "a memset of what is no device memory, or past its end");
    op.run = [=]() { memset(to, value, n); };
    enqueue(s, std::move(op));
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    LOCKED;
    *s = new emu_stream;
    streams.push_back(*s);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    LOCKED;
    run_all(s);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == s)
            streams.erase(streams.begin() + (long)i);
    delete s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    LOCKED;
    if (s->is_capturing) {
        s->is_invalid = true;
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    run_all(s);
    for (auto &b : memory)
        check_edges(b.second);
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    LOCKED;
    if (breaks_capture())
        return failed(cudaErrorStreamCaptureUnsupported);
    run_everything();
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) { *e = new emu_event; return cudaSuccess; }

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    LOCKED;
    run_everything();
    delete e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    LOCKED;
    operation op;
    e->stream = s;
    op.record = e;
    op.generation = ++e->n_recorded;
    enqueue(s, std::move(op));
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    LOCKED;
    operation op;
    if (e->n_recorded == 0)             /* never recorded: nothing to wait for */
        return cudaSuccess;
    op.wait = e;
    op.generation = e->n_recorded;
    enqueue(s, std::move(op));
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    LOCKED;
    if (breaks_capture())
        return failed(cudaErrorStreamCaptureUnsupported);
    const long wanted = e->n_recorded;
    while (e->n_done < wanted) {
        if (e->stream->queue.empty())
            broken("a wait for an event that nobody will record");
        run_one(e->stream);
    }
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    LOCKED;
    return e->n_done >= e->n_recorded ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode)
{
    LOCKED;
    if (s->is_capturing)
        return failed(cudaErrorInvalidValue);
    s->is_capturing = true;
    s->is_invalid = false;
    s->captured = std::make_shared<std::vector<operation>>();
    n_capturing++;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    LOCKED;
    *g = nullptr;
    if (!s->is_capturing)
        return failed(cudaErrorInvalidValue);
    s->is_capturing = false;
    n_capturing--;
    if (s->is_invalid) {
        s->captured.reset();
        return failed(cudaErrorStreamCaptureInvalidated);
    }
    *g = new emu_graph{ s->captured };
    s->captured.reset();
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status)
{
    LOCKED;
    *status = !s->is_capturing ? cudaStreamCaptureStatusNone : s->is_invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long) { *x = new emu_graph{ g->ops }; return cudaSuccess; }
cudaError_t cudaGraphDestroy(cudaGraph_t g) { delete g; return cudaSuccess; }

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x)
{
    LOCKED;
    run_everything();
    delete x;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s)
{
    LOCKED;
    for (const operation &op : *x->ops)
        enqueue(s, op);
    return cudaSuccess;
}

}
