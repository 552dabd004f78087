/*
 * A denoiser's forward pass, recorded once and replayed: on a device that can capture (a GPU), hundreds of launches become one. The recording
 * is of one model, one set of shapes and types; another makes another. It computes the same bytes as the pass itself, because it is that pass.
 * RG_GRAPHS=0 turns it off; profiling and RG_SYNC=1 do too.
 */
#ifndef RG_DIFFUSION_CAPTURED_H
#define RG_DIFFUSION_CAPTURED_H

#include "engine/diffusion/model.h"

/* As m->forward(c, m, x, timestep, in). */
rg_tensor *rg_denoiser_run(rg_ctx *c, const rg_denoiser *m, const rg_tensor *x, const rg_tensor *timestep, const rg_denoiser_inputs *in);

/* How many passes were recorded and replayed on this context so far; for tests. */
void rg_captured_counts(const rg_ctx *c, int64_t *n_recorded, int64_t *n_replayed);

#endif
