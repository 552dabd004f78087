/*
 * What the nodes on pictures share. They work in main memory whatever device the context computes on, as ComfyUI's do: so a
 * picture does not depend on where the models ran. Views are free anywhere; loops take rg_image_host() first.
 */
#ifndef RG_NODES_IMAGE_IMAGE_NODE_H
#define RG_NODES_IMAGE_IMAGE_NODE_H

#include "engine/media/image.h"
#include "engine/media/resize.h"
#include "nodes/give.h"

enum { MAX_RESOLUTION = 16384 };        /* ComfyUI's limit for widths and heights */

/* In the order of rg_resize_method, so that a combo's index is the method. */
#define UPSCALE_METHODS { "nearest-exact", "bilinear", "area", "bicubic", "lanczos", NULL }

#endif
