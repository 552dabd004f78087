/*
 * What a node is: one file ending in one const descriptor. This header is all that graph/ sees of nodes and all that a
 * node sees of graph/; for node packs in shared libraries it is the ABI.
 *
 * A descriptor's input table is the only place that knows a node's inputs: JSON parsing, defaults, ComfyUI's validation
 * errors, GET /object_info and docs/nodes.md come from it. Names, order, defaults, ranges and categories are ComfyUI's.
 *
 * To add a node: copy the nearest one, rename, add a line to nodes/node_list.h, add a test.
 */
#ifndef RG_NODES_NODE_H
#define RG_NODES_NODE_H

#include <stddef.h>

#include "engine/core/ctx.h"

enum { RG_NODE_ABI = 1 };

/* ---- types and values on edges ------------------------------------------------------------------------------- */

/* A type is known by its address and matched by its name; a pack may define its own. */
typedef struct rg_type {
    const char *name;                   /* "MODEL"; what goes on the wire */
} rg_type;

#define RG_TYPE_LIST(X)                                                                                             \
    X(any, "*") X(int, "INT") X(float, "FLOAT") X(string, "STRING") X(boolean, "BOOLEAN") X(combo, "COMBO")        \
    X(model, "MODEL") X(clip, "CLIP") X(vae, "VAE") X(conditioning, "CONDITIONING") X(latent, "LATENT")             \
    X(image, "IMAGE") X(mask, "MASK") X(noise, "NOISE") X(guider, "GUIDER") X(sampler, "SAMPLER") X(sigmas, "SIGMAS")
#define X(id, text) extern const rg_type rg_type_##id;
RG_TYPE_LIST(X)
#undef X
#define RG_ANY          (&rg_type_any)
#define RG_MODEL        (&rg_type_model)
#define RG_CLIP         (&rg_type_clip)
#define RG_VAE          (&rg_type_vae)
#define RG_CONDITIONING (&rg_type_conditioning)
#define RG_LATENT       (&rg_type_latent)
#define RG_IMAGE        (&rg_type_image)
#define RG_MASK         (&rg_type_mask)
#define RG_NOISE        (&rg_type_noise)
#define RG_GUIDER       (&rg_type_guider)
#define RG_SAMPLER      (&rg_type_sampler)
#define RG_SIGMAS       (&rg_type_sigmas)

/* Text on an edge. */
typedef struct rg_string {
    rg_object base;
    size_t n_bytes;
    char text[];                        /* UTF-8, NUL-terminated */
} rg_string;

rg_string *rg_string_new(const char *text);     /* one holder; NULL if no memory */

/*
 * What travels along an edge. Numbers by value; everything else is an rg_object of the engine (rg_model, rg_cond,
 * rg_latent, rg_tensor for IMAGE, MASK and SIGMAS, ...), held once by this value.
 */
typedef struct rg_value {
    const rg_type *type;                /* what the value is; NULL: no value (an unconnected optional, a failed source) */
    union {
        int64_t i;                      /* INT; a seed's 64 bits may use the sign bit */
        double f;                       /* FLOAT */
        bool b;                         /* BOOLEAN */
        void *object;                   /* all other types; STRING and COMBO: rg_string */
    };
} rg_value;

/* Take or let go of the hold that a value has on its object; numbers need none. */
rg_value rg_value_ref(const rg_value *v);
void rg_value_unref(rg_value *v);

rg_value rg_value_int(int64_t i);
rg_value rg_value_float(double f);
rg_value rg_value_boolean(bool b);
rg_value rg_value_object(const rg_type *type, void *object);    /* takes over the caller's hold */

/*
 * Several values on one edge: what an output with is_list gives, and what every input of an is_input_list node gets.
 * Elements are values of the slot's type; a list holds them once each.
 */
typedef struct rg_list {
    rg_object base;
    int n_items;
    rg_value items[];
} rg_list;

rg_list *rg_list_new(int n_items);              /* one holder, empty values to fill; NULL if no memory */
extern const rg_type rg_type_list;
#define RG_LIST         (&rg_type_list)

/*
 * ComfyUI's ExecutionBlocker: given for an output, it keeps the nodes behind it from running, without failing the run. With a
 * message (else NULL) clients hear of it once. It may stand for any type, and be one element of a list.
 */
typedef struct rg_blocker {
    rg_object base;
    char message[];                     /* "": silent */
} rg_blocker;
extern const rg_type rg_type_blocker;
rg_value rg_value_blocked(const char *message);     /* empty if no memory */

/* Where a value would come from, not the value: what an is_raw_link input gets, and what results of an expansion are. */
typedef struct rg_link {
    rg_object base;
    int slot;
    char node_id[];
} rg_link;
extern const rg_type rg_type_link;
rg_value rg_value_link(const char *node_id, int slot);      /* empty if no memory */

/* ---- inputs --------------------------------------------------------------------------------------------------- */

typedef enum rg_input_kind {
    RG_INPUT_END, RG_INPUT_LINK, RG_INPUT_INT, RG_INPUT_SEED, RG_INPUT_FLOAT, RG_INPUT_STRING, RG_INPUT_BOOLEAN,
    RG_INPUT_COMBO,                     /* one of a fixed list: args get its index */
    RG_INPUT_FILE                       /* one of a list read from disk: args get its name */
} rg_input_kind;

typedef struct rg_input {
    const char *name;
    rg_input_kind kind;
    size_t offset;                      /* of the field in the node's struct args */
    const rg_type *type;                /* RG_INPUT_LINK: what may be connected; else left NULL */
    const char *type_names;             /* instead of one type: "FLOAT,INT" or a pack's own; NULL: type's name */

    /* defaults; a string default of NULL means none is declared, a combo's default is an index */
    bool has_default;
    int64_t default_int;                /* also for seed, boolean, combo */
    double default_float;
    const char *default_string;

    /* ranges */
    int64_t min_int, max_int;           /* for a seed as uint64_t */
    int64_t step_int;                   /* 0: not declared */
    double min, max, step, round;       /* FLOAT; step, round 0: not declared */

    /* lists */
    const char *const *options;         /* NULL-terminated, RG_INPUT_COMBO */
    const char *source;                 /* RG_INPUT_FILE: "models:vae", "input:image", as in docs of rg_files_list() */
    const char *const *fixed_options;   /* RG_INPUT_FILE: entries that are always there, after the files */

    /* how it behaves and shows; on the wire as ComfyUI's option keys */
    bool is_optional;
    bool is_lazy;                       /* its source runs only when check_lazy() asks for it; empty in args until then */
    bool is_raw_link;                   /* the field is a const rg_value * that holds the link itself (or a constant) */
    bool is_hidden;                     /* clients never show it, but an expansion may set it */
    bool is_unlisted_allowed;           /* a name that is not in the list passes (the node checks it itself: LoadImage) */
    bool is_v3_combo;                   /* wire form ["COMBO", {"options": ...}]: newer node style */
    bool is_multiline, has_dynamic_prompts, is_force_input, has_control_after_generate, has_image_upload, is_advanced;
    const char *display;                /* "slider", "number", ... */
    const char *tooltip;                /* our own words */
} rg_input;

/*
 * Rows of an input table. `field` is a member of the file's struct args; named options may follow: RG_FLOAT(..., .step = 0.1).
 * A link of type RG_ANY, with type_names or is_raw_link fills a `const rg_value *` (NULL: not connected), since its type is known at run
 * time only. In an is_input_list node every field is a `const rg_list *`. A FLOAT whose min_int or max_int is set instead of
 * min and max shows its range as integers (PrimitiveFloat). Without a default (PrimitiveInt) write the row out by hand.
 */
#define RG_LINK(name_, field, type_, ...)                                                                          \
    { .name = name_, .kind = RG_INPUT_LINK, .offset = offsetof(struct args, field), .type = type_, __VA_ARGS__ }   /* const T * of the engine */
#define RG_INT(name_, field, default_, min_, max_, ...)                                                            \
    { .name = name_, .kind = RG_INPUT_INT, .offset = offsetof(struct args, field), .has_default = true,            \
      .default_int = default_, .min_int = min_, .max_int = max_, __VA_ARGS__ }                                     /* int64_t */
#define RG_SEED(name_, field, default_, ...)                                                                       \
    { .name = name_, .kind = RG_INPUT_SEED, .offset = offsetof(struct args, field), .has_default = true,           \
      .default_int = default_, .min_int = 0, .max_int = -1, .has_control_after_generate = true, __VA_ARGS__ }      /* uint64_t */
#define RG_FLOAT(name_, field, default_, min_, max_, ...)                                                          \
    { .name = name_, .kind = RG_INPUT_FLOAT, .offset = offsetof(struct args, field), .has_default = true,          \
      .default_float = default_, .min = min_, .max = max_, __VA_ARGS__ }                                           /* double */
#define RG_STRING(name_, field, ...)                                                                               \
    { .name = name_, .kind = RG_INPUT_STRING, .offset = offsetof(struct args, field), __VA_ARGS__ }                /* const char * */
#define RG_BOOLEAN(name_, field, default_, ...)                                                                    \
    { .name = name_, .kind = RG_INPUT_BOOLEAN, .offset = offsetof(struct args, field), .has_default = true,        \
      .default_int = default_, __VA_ARGS__ }                                                                       /* bool */
#define RG_COMBO(name_, field, options_, ...)                                                                      \
    { .name = name_, .kind = RG_INPUT_COMBO, .offset = offsetof(struct args, field), .options = options_, __VA_ARGS__ }  /* int64_t index */
#define RG_FILE(name_, field, source_, ...)                                                                        \
    { .name = name_, .kind = RG_INPUT_FILE, .offset = offsetof(struct args, field), .source = source_, __VA_ARGS__ }     /* const char * name */
#define RG_END { .kind = RG_INPUT_END }

typedef struct rg_output {
    const char *name;                   /* "LATENT"; NULL: the type's name */
    const rg_type *type;
    bool is_list;                       /* OUTPUT_IS_LIST: the value is an RG_LIST object */
    const char *type_names;             /* instead of type's name on the wire, or NULL */
} rg_output;

enum { RG_MAX_OUTPUTS = 16 };

/* ---- execution -------------------------------------------------------------------------------------------------- */

typedef struct rg_env rg_env;           /* directories, weight store, options of this process: graph/env.h */

/* What execute() gets besides its inputs. Filled by the executor for one call. */
typedef struct rg_exec {
    rg_ctx *ctx;                        /* ops, errors (rg_fail(x->ctx, ...)), progress, cancel */
    rg_env *env;
    const char *node_id;
    const char *prompt_json;            /* the submitted graph, for picture metadata; NULL when disabled */
    const char *const *extra_keys;      /* extra_pnginfo: n_extra keys and JSON texts ("workflow", ...) */
    const char *const *extra_texts;
    int n_extra;
    void **state;                       /* one pointer per node id that outlives the call (not for is_async); freed with rg_free() */
    const struct rg_named_value *more;  /* takes_any_input: n_more linked inputs that are not in the table, in the prompt's order */
    int n_more;
    void *private_data;                 /* the executor's */
} rg_exec;

typedef struct rg_named_value {
    const char *name;
    rg_value value;                     /* a list for is_input_list nodes (RG_LIST) */
} rg_named_value;

/* In check_lazy(): this lazy input is needed. One that is there already may be asked for again. RG_ERR_INVALID: no link of that name. */
int rg_exec_need(rg_exec *x, const char *input);

/*
 * Expansion: instead of values a node may give a graph of new nodes, which run before its outputs are taken up.
 *     int mix = rg_expand_node(x, "ImageBlend", NULL);
 *     rg_expand_value(x, mix, "image1", a->image);            a value, held by the new node; or a link (rg_value_link())
 *     rg_expand_link(x, mix, "image2", other, 0);             output 0 of another new node
 *     out[0] = rg_expand_output(x, mix, 0);                   this node gives what that one gives
 * Ids are "<this node's id>.<call>.0.<name>", where a NULL name counts 1, 2, ...; a name that is there already gives the same node.
 * All return a code on failure, which the context has then, too: errors may be left unchecked until execute() returns.
 * Nothing is validated or converted: an unknown class or a bad value fails when it runs.
 */
int rg_expand_node(rg_exec *x, const char *class_type, const char *name);       /* a number for the new node */
int rg_expand_value(rg_exec *x, int node, const char *input, const rg_value *v);
int rg_expand_link(rg_exec *x, int node, const char *input, int source, int slot);
int rg_expand_display(rg_exec *x, int node, const char *node_id);               /* what clients show for it; else this node */
rg_value rg_expand_output(rg_exec *x, int node, int slot);

/* The graph as it stands, submitted nodes and expanded ones (ComfyUI's DYNPROMPT). NULL or false: no such node or input. Borrowed. */
const char *rg_exec_class_of(rg_exec *x, const char *node_id);
/* Input number i in the node's order; *v is a link or a constant and the caller's (rg_value_unref()). */
bool rg_exec_input_of(rg_exec *x, const char *node_id, int i, const char **name, rg_value *v);

/* Record a result for clients: {"images": [{"filename", "subfolder", "type"}]}. type is "output" or "temp". */
int rg_exec_ui_file(rg_exec *x, const char *key, const char *filename, const char *subfolder, const char *type);
/* {"text": ["..."]} */
int rg_exec_ui_text(rg_exec *x, const char *key, const char *text);

/*
 * Progress that carries a whole picture: number `frame` of images [B, H, W, C] goes to the client that waits for this prompt, as
 * PNG, and is stored nowhere. Not for is_async nodes. Like rg_report() it gives RG_ERR_CANCELLED when the run is to stop.
 */
int rg_exec_show_image(rg_exec *x, int64_t step, int64_t total, const rg_tensor *images, int64_t frame);

/* Find a model file by folder key ("vae") and name; *path is the caller's (rg_free). RG_ERR_NOT_FOUND names folders and nearest names. */
int rg_exec_model_path(rg_exec *x, const char *folder, const char *name, char **path);

/* Path of an input file by its annotated name ("a.png", "b.png [output]"); confined to the three folders. */
int rg_exec_input_path(rg_exec *x, const char *annotated, char **path);

/* The same for validate() and fingerprint(), which have no rg_exec: on failure text says why. Returns 0 or a code. */
int rg_env_input_path(rg_env *env, const char *annotated, char **path, char *text, size_t text_size);

/* The weight store shared by all jobs (engine/weights/store.h). */
struct rg_store *rg_exec_store(rg_exec *x);

/*
 * Where ComfyUI would save: expands the prefix (%width%, %year%, ..., and as its web client %date:yyyy-MM-dd%), makes the
 * folder, finds the counter.
 *   out      folder, name ("ComfyUI"), counter (first free), subfolder; free with rg_save_path_release()
 *   errors   RG_ERR_INVALID (outside the output folder), RG_ERR_IO
 */
typedef struct rg_save_path {
    char *folder, *name, *subfolder;
    int64_t counter;
} rg_save_path;
int rg_exec_save_path(rg_exec *x, const char *prefix, bool is_temp, int64_t width, int64_t height, rg_save_path *out);
void rg_save_path_release(rg_save_path *p);

/* Write a whole file or nothing: to a temporary name beside it, flushed, then renamed. */
int rg_exec_write_file(rg_exec *x, const char *path, const void *bytes, size_t n_bytes);

/* ---- the descriptor ------------------------------------------------------------------------------------------------ */

typedef struct rg_node {
    const char *class_type;             /* ComfyUI's, exactly */
    const char *display_name;           /* NULL: class_type */
    const char *category;
    const char *description;            /* our own words */
    const rg_input *inputs;             /* ends with RG_END */
    rg_output outputs[RG_MAX_OUTPUTS];  /* ends with type NULL */
    size_t args_size;                   /* sizeof(struct args); 0: no inputs */
    bool is_output;                     /* OUTPUT_NODE: a root of execution */
    bool is_input_list;                 /* INPUT_IS_LIST */
    bool is_not_idempotent;             /* NOT_IDEMPOTENT: the node id is part of the cache key */
    bool is_deprecated, is_experimental, is_v3;
    bool wants_prompt, wants_extra_pnginfo, wants_unique_id, wants_dynprompt;   /* hidden inputs, shown in /object_info */
    bool takes_any_input;               /* links on inputs outside the table reach execute() in rg_exec.more; else they are an error */

    /*
     * The node waits more than it computes: its calls run on threads of their own, all at once and beside other nodes. ctx is then a
     * CPU context of this call alone; rg_report() and rg_check() work as ever, the latter also stops it when the run ends early.
     */
    bool is_async;
    const char *python_module;          /* "nodes", "comfy_extras.nodes_..."; as ComfyUI reports it */

    /*
     * Run once per list element.  args   the node's struct args, filled and checked; borrowed for the call
     *   out      one value per output, all empty at first; each filled one is taken over by the executor
     *   returns  0 or a code (then out is ignored); a failed x->ctx counts as failure too
     */
    int (*execute)(rg_exec *x, const void *args, rg_value *out);

    /*
     * check_lazy_status, or NULL: asks with rg_exec_need() for the lazy inputs it wants; is called again when they are there, and
     * execute() follows when it asks for nothing more. Lazy inputs of typed links are NULL in args while they are missing. Without
     * it lazy inputs are never there.
     */
    int (*check_lazy)(rg_exec *x, const void *args);

    /*
     * VALIDATE_INPUTS, or NULL. Linked inputs are empty in args. On refusal returns RG_ERR_INVALID after writing the text
     * that ComfyUI would give; that switches off range and list checks of the inputs named in validated_inputs.
     */
    int (*validate)(rg_env *env, const void *args, char *text, size_t text_size);
    const char *const *validated_inputs;/* NULL-terminated names of the inputs the validator takes; NULL: none */

    /*
     * Instead of validate: also gets the type that each declared input (in the table's order) is linked to, NULL where it is not
     * linked. It then judges types by itself, and is called however inputs are linked ("input_types" in validated_inputs stands
     * for the types).
     */
    int (*validate_types)(rg_env *env, const void *args, const char *const *types, char *text, size_t text_size);

    /* IS_CHANGED, or NULL: a fingerprint of outside state (file contents) into out, 64 hex digits; non-zero: always run again. */
    int (*fingerprint)(rg_env *env, const void *args, char out[65]);
} rg_node;

/* The table: every node of this program, by X(name) in nodes/node_list.h, then those registered since. */
const rg_node *rg_node_find(const char *class_type);        /* NULL if unknown */
const rg_node *const *rg_node_table(int *n_nodes);          /* in the list's order */

/* Add a node from outside the list (a node pack, a test), before any prompt runs. RG_ERR_INVALID: the name is taken; RG_ERR_NOMEM. */
int rg_node_register(const rg_node *node);

/* The bytes that one input fills in the node's struct args. */
size_t rg_input_field_size(const rg_node *node, const rg_input *in);

/* The name of an input's or output's type on the wire: "INT", "FLOAT,INT"; "COMBO" for any list. Never NULL. */
const char *rg_input_type_name(const rg_input *in);
const char *rg_output_type_name(const rg_output *out);

#endif
