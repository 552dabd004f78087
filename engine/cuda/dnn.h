/*
 * Building and running graphs of cuDNN through its graph API, which is C: descriptors of tensors and operations, a plan that the
 * heuristics propose, execution with pointers by number. For attention.c and conv2d.c.
 */
#ifndef RG_CUDA_DNN_H
#define RG_CUDA_DNN_H

#include "engine/cuda/cuda.h"

enum { DNN_MAX_DESCRIPTORS = 128 };   /* attention with bias and mask makes 70 */

/* A graph being built: every descriptor made so far, destroyed together. The first failure sticks. */
typedef struct dnn_builder {
    cudnnBackendDescriptor_t all[DNN_MAX_DESCRIPTORS], ops[24];
    int n_all, n_ops;
    int64_t next_uid;                   /* of virtual tensors: start it above those of real ones */
    cudnnStatus_t status;
} dnn_builder;

cudnnDataType_t dnn_data_type(rg_dtype t);
cudnnBackendDescriptor_t dnn_make(dnn_builder *b, cudnnBackendDescriptorType_t type);
void dnn_set(dnn_builder *b, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n,
             const void *value);
void dnn_set_descriptor(dnn_builder *b, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value);
void dnn_finish(dnn_builder *b, cudnnBackendDescriptor_t d);

/* A tensor of 4 dims: real ones have a uid, virtual ones (uid 0) live on the chip only. */
cudnnBackendDescriptor_t dnn_tensor(dnn_builder *b, int64_t uid, cudnnDataType_t dtype, const int64_t *shape, const int64_t *stride, bool is_by_value);

/* Finish an operation and append it to the graph. */
void dnn_add_op(dnn_builder *b, cudnnBackendDescriptor_t op);

/* One value at a time: out = mode(x, y), y and t (the condition of a select) may be absent. axis is for GEN_INDEX only. */
void dnn_pointwise(dnn_builder *b, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t t,
                   cudnnBackendDescriptor_t out, int64_t axis);

/* A graph that can be run. All NULL and 0: cuDNN has no plan for it. */
typedef struct dnn_plan {
    cudnnBackendDescriptor_t plan, engine;      /* the plan may look into its engine's configuration: both live as long */
    int64_t workspace_bytes;
} dnn_plan;

/*
 * The first plan of the heuristics that fits the workspace and gives the same bytes each time; is_plain also leaves out engines that
 * transform their operands (Winograd, FFT). Destroys what b holds.
 */
dnn_plan dnn_plan_make(dnn_builder *b, rg_cuda_state *s, bool is_plain);
void dnn_plan_release(dnn_plan *p);

cudnnStatus_t dnn_run(rg_cuda_state *s, const dnn_plan *p, int64_t n, const int64_t *uids, void *const *data);

#endif
