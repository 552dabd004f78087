/*
 * What surrounds a sampler, against ComfyUI: guidance over several texts, areas, masks, ranges; noise masks, batches, partial
 * runs, denoise below 1. Four kinds of toy model, the euler sampler unless said otherwise.
 */
#include "tests/diffusion/toy.h"

static const char *const kinds[] = { "flux", "flow", "eps", "v" };
enum { N_KINDS = 4, EULER = 0 };

static int named(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++) {
        if (!strcmp(names[i], name))
            return i;
    }
    test_fail(__FILE__, __LINE__, "no name %s", name);
    return 0;
}

/* What a case may change; everything set up with cat against dog, 8 steps, cfg 1. */
typedef struct setup {
    rg_ctx *c;
    test_fixture *f;
    const char *kind;
    int64_t H, W;
    toy *t;
    rg_model *model;
    rg_cond *positive, *negative;
    rg_latent *latent;
    rg_ksampler_args args;
} setup;

static const rg_tensor *input(setup *s, const char *group, const char *name)
{
    char key[64];

    snprintf(key, sizeof key, "input/%s/%s%s%s", group, s->kind, name ? "/" : "", name ? name : "");
    return test_get(s->f, s->c, key);
}

static void set_samples(setup *s, const rg_tensor *samples, const rg_tensor *mask)
{
    rg_unref(s->latent);
    s->latent = rg_latent_new(samples, mask);
}

/* The latent and its negative, as a batch. */
static rg_tensor *two(setup *s)
{
    const rg_tensor *x = input(s, "latent", NULL);

    return rg_concat(s->c, x, rg_affine(s->c, x, -1, 0), 0);
}

static void add_text(setup *s, rg_cond **cond, const char *name)
{
    rg_cond *more = toy_text(s->f, s->c, name), *joined = rg_cond_join(*cond, more);

    rg_unref(*cond);
    rg_unref(more);
    *cond = joined;
}

static void set_area(rg_cond_entry *e, bool is_fraction, double h, double w, double y, double x)
{
    e->has_area = true;
    e->area_is_fraction = is_fraction;
    e->area[0] = h;
    e->area[1] = w;
    e->area[2] = y;
    e->area[3] = x;
}

static void set_range(rg_cond_entry *e, double start, double end)
{
    e->start_percent = start;
    e->end_percent = end;
}

static setup begin(rg_ctx *c, test_fixture *f, const char *kind)
{
    setup s = { .c = c, .f = f, .kind = kind };

    s.t = toy_new(kind);
    s.model = rg_model_new(&s.t->base);
    s.positive = toy_text(f, c, "cat");
    s.negative = toy_text(f, c, "dog");
    set_samples(&s, input(&s, "latent", NULL), NULL);
    s.H = rg_dim(s.latent->samples, 2);
    s.W = rg_dim(s.latent->samples, 3);
    s.args = (rg_ksampler_args){ .seed = 5, .steps = 8, .cfg = 1, .denoise = 1, .start_step = RG_STEP_UNSET, .last_step = RG_STEP_UNSET };
    return s;
}

static void end(setup *s)
{
    rg_unref(s->latent);
    rg_unref(s->positive);
    rg_unref(s->negative);
    rg_unref(s->model);
    rg_unref(s->t);
}

/*
 * Relative to the largest value. Flow models with euler only add, multiply and divide: to the last bit. The others go through
 * square roots and exponentials that differ by one unit in the last place (scalar.h), and eps and v models do so on latents
 * that are 15 times larger than what comes out. A mask that is resized is off by one unit as well (bilinear: PyTorch's order
 * of adding).
 */
static double tolerance_of(const setup *s, bool is_resized)
{
    if (s->t->base.sampling->prediction != RG_PREDICT_FLOW)
        return 3e-6;
    if (s->args.sampler != EULER || !strcmp(rg_scheduler_names[s->args.scheduler], "karras"))
        return 6e-7;
    return is_resized ? 3e-7 : 0;
}

static void finish(setup *s, const char *name)
{
    const bool is_resized = strstr(name, "big") || !strcmp(name, "mask");
    char key[96];
    rg_latent *out = NULL;

    snprintf(key, sizeof key, "%s/case/%s", s->kind, name);
    if (rg_ksampler(s->c, s->model, s->positive, s->negative, s->latent, &s->args, &out) < 0) {
        test_fail(__FILE__, __LINE__, "%s: %s", key, s->c->message);
        rg_ctx_reset(s->c);
    } else {
        test_check_close(__FILE__, __LINE__, s->c, out->samples, test_get(s->f, s->c, key), tolerance_of(s, is_resized), key);
    }
    rg_unref(out);
    end(s);
}

#define CASE(name, ...) do { setup s = begin(c, f, kinds[k]); rg_cond_entry *p = &s.positive->entries[0]; \
        (void)p; __VA_ARGS__; finish(&s, name); } while (0)
#define FOR_EACH_KIND test_fixture *f = test_open("diffusion/samplers.safetensors"); \
    FOR_EACH_DEVICE(c) for (int k = 0; k < N_KINDS && toy_runs_on(c); k++)

TEST(steps_schedules_and_seeds)
{
    FOR_EACH_KIND {
        CASE("steps_1", s.args.steps = 1);
        CASE("steps_2_cfg", s.args.steps = 2, s.args.cfg = 7);
        CASE("karras", s.args.scheduler = named(rg_scheduler_names, "karras"), s.args.cfg = 2.5);
        CASE("beta_denoise", s.args.scheduler = named(rg_scheduler_names, "beta"), s.args.denoise = 0.3, s.args.steps = 5);
        CASE("seed_high", s.args.seed = UINT64_MAX, set_samples(&s, rg_affine(c, s.latent->samples, 0, 0), NULL));
        CASE("denoise_0", s.args.denoise = 0);
    }
}

TEST(an_empty_latent_takes_the_models_channels)
{
    FOR_EACH_KIND {
        CASE("channels", s.args.cfg = 2.5, set_samples(&s, rg_tensor_zeros(c, RG_F32, 4, (const int64_t[]){ 1, 4, s.H, s.W }), NULL));
    }
}

TEST(noise_masks)
{
    FOR_EACH_KIND {
        CASE("mask", s.args.denoise = 0.8, set_samples(&s, input(&s, "latent", NULL), input(&s, "mask", "big")));
        if (c->device.type == RG_CPU)   /* a GPU draws other noise */
            CASE("mask_ancestral", s.args.sampler = named(rg_sampler_names, "euler_ancestral"), s.args.cfg = 2.5,
                 set_samples(&s, input(&s, "latent", NULL), input(&s, "mask", "small")));
        CASE("mask_ddim", s.args.sampler = named(rg_sampler_names, "ddim"),
             set_samples(&s, input(&s, "latent", NULL), input(&s, "mask", "small")));
        CASE("mask_pair", set_samples(&s, two(&s), input(&s, "mask", "pair")));
    }
}

TEST(batches)
{
    FOR_EACH_KIND {
        CASE("batch_2", s.args.cfg = 2.5, set_samples(&s, two(&s), NULL));
        CASE("batch_index", set_samples(&s, two(&s), NULL), rg_latent_set_batch_index(s.latent, (const int64_t[]){ 3, 1 }, 2));
    }
}

TEST(part_of_the_steps)
{
    FOR_EACH_KIND {
        CASE("first_steps", s.args.start_step = 0, s.args.last_step = 3);
        CASE("first_steps_forced", s.args.start_step = 0, s.args.last_step = 3, s.args.force_full_denoise = true);
        CASE("last_steps", s.args.start_step = 4, s.args.last_step = 10000, s.args.disable_noise = true);
        CASE("all_skipped", s.args.start_step = 8, s.args.last_step = 10000);
    }
}

TEST(several_texts_strengths_and_lengths)
{
    FOR_EACH_KIND {
        CASE("guidance", s.args.cfg = 2, p->has_guidance = s.negative->entries[0].has_guidance = true, p->guidance = 7.5,
             s.negative->entries[0].guidance = 1);
        CASE("two_texts", s.args.cfg = 2.5, add_text(&s, &s.positive, "bird"));
        CASE("strength", p->strength = 0.7, add_text(&s, &s.positive, "bird"), s.positive->entries[1].strength = 1.3);
        CASE("lone_strength", p->strength = 0.7);
        CASE("lengths", s.args.cfg = 2.5, rg_unref(s.positive), s.positive = toy_text(f, c, "long"));
    }
}

TEST(timestep_ranges)
{
    FOR_EACH_KIND {
        CASE("range", set_range(p, 0, 0.4), add_text(&s, &s.positive, "bird"), set_range(&s.positive->entries[1], 0.4, 1));
        CASE("range_gap", s.args.cfg = 2.5, set_range(p, 0.3, 0.6));
    }
}

TEST(areas)
{
    FOR_EACH_KIND {
        CASE("area", s.args.cfg = 2.5, set_area(p, false, (double)s.H - 2, (double)s.W - 1, 1, 1), add_text(&s, &s.positive, "bird"));
        CASE("area_fraction", set_area(p, true, 0.5, 0.7, 0.25, 0), add_text(&s, &s.positive, "bird"));
        CASE("area_clipped", s.args.cfg = 3, set_area(p, false, (double)s.H, (double)s.W, 1, 0), add_text(&s, &s.positive, "bird"),
             s.positive->entries[1].strength = 0.5);
    }
}

TEST(conditioning_masks)
{
    FOR_EACH_KIND {
        CASE("cond_mask", rg_cond_set(&p->mask, input(&s, "mask", "small")), p->mask_strength = 0.8, add_text(&s, &s.positive, "bird"),
             rg_cond_set(&s.positive->entries[1].mask, rg_affine(c, input(&s, "mask", "small"), -1, 1)));
        CASE("cond_mask_big", s.args.cfg = 2.5, rg_cond_set(&p->mask, input(&s, "mask", "big")), add_text(&s, &s.positive, "bird"));
        CASE("cond_mask_area", rg_cond_set(&p->mask, input(&s, "mask", "small")),
             set_area(p, false, (double)s.H - 1, (double)s.W - 1, 0, 1), add_text(&s, &s.positive, "bird"));
    }
}

/* ---- behaviour that ComfyUI's numbers do not show ---------------------------------------------------------------------- */

static int run(setup *s)
{
    rg_latent *out = NULL;
    const int ret = rg_ksampler(s->c, s->model, s->positive, s->negative, s->latent, &s->args, &out);

    rg_unref(out);
    return ret;
}

TEST(both_sides_share_a_forward_and_cfg_1_skips_one)
{
    test_fixture *f = test_open("diffusion/samplers.safetensors");
    rg_ctx *c = test_ctx();
    static const struct { double cfg; const char *text; int n_forwards, largest_batch; } cases[] = {
        { 1.0, "cat", 8, 1 }, { 2.5, "cat", 8, 2 }, { 2.5, "long", 16, 1 },     /* Flux does not repeat a text */
    };

    for (int i = 0; i < 3; i++) {
        setup s = begin(c, f, "flux");
        rg_unref(s.positive);
        s.positive = toy_text(f, c, cases[i].text);
        s.args.cfg = cases[i].cfg;
        CHECK_INT(run(&s), 0);
        CHECK_INT(s.t->n_forwards, cases[i].n_forwards);
        CHECK_INT(s.t->largest_batch, cases[i].largest_batch);
        end(&s);
    }
    rg_ctx_free(c);
}

typedef struct listener {
    int64_t steps[32], total;
    int n_reports;
    double last_preview;
    atomic_bool cancel;
} listener;

static void listen(void *user, int64_t step, int64_t total, const rg_tensor *preview)
{
    listener *l = user;

    l->steps[l->n_reports++] = step;
    l->total = total;
    l->last_preview = preview ? rg_get(preview, 0) : NAN;
    if (step == 3)
        atomic_store(&l->cancel, true);
}

TEST(progress_is_told_each_step_and_a_stop_is_heard_within_one)
{
    test_fixture *f = test_open("diffusion/samplers.safetensors");
    rg_ctx *c = test_ctx();
    setup s = begin(c, f, "flux");
    listener l = { 0 };

    c->progress = listen;
    c->progress_user = &l;
    CHECK_INT(run(&s), 0);
    CHECK_INT(l.n_reports, 8);
    CHECK_INT(l.total, 8);
    for (int i = 0; i < 8; i++)
        CHECK_INT(l.steps[i], i + 1);
    CHECK(isfinite(l.last_preview));

    l.n_reports = 0;
    atomic_store(&l.cancel, false);
    s.t->n_forwards = 0;
    c->cancel = &l.cancel;
    CHECK_INT(run(&s), RG_ERR_CANCELLED);
    CHECK_INT(l.n_reports, 3);
    CHECK_INT(s.t->n_forwards, 3);
    CHECK_ERROR(c, RG_ERR_CANCELLED);
    end(&s);
    rg_ctx_free(c);
}

TEST(bad_input_is_named)
{
    test_fixture *f = test_open("diffusion/samplers.safetensors");
    rg_ctx *c = test_ctx();
    setup s = begin(c, f, "flux");
    char text[1024];

    set_samples(&s, rg_tensor_full(c, RG_F32, 4, (const int64_t[]){ 1, 4, 4, 3 }, 0.5), NULL);
    CHECK_INT(run(&s), RG_ERR_SHAPE);
    CHECK_STR(c->message, "the latent has 4 channels, this flux model wants 16");
    rg_ctx_reset(c);

    set_samples(&s, input(&s, "latent", NULL), NULL);
    set_area(&s.positive->entries[0], false, 4, 4, 9, 0);
    CHECK_INT(run(&s), RG_ERR_INVALID);
    snprintf(text, sizeof text, "%s", c->message);
    CHECK(strstr(text, "outside the 4 x 3 latent"));
    rg_ctx_reset(c);
    s.positive->entries[0].has_area = false;

    s.args.sampler = 1000;
    CHECK_INT(run(&s), RG_ERR_INVALID);
    rg_ctx_reset(c);
    end(&s);
    rg_ctx_free(c);
}

/* The n-th allocation of a run fails, for every n: an error (or a second try that works), nothing lost or used after its end. */
TEST(running_out_of_memory_is_an_error)
{
    test_fixture *f = test_open("diffusion/samplers.safetensors");
    bool has_failed = true;
    int n = 0, n_errors = 0;

    for (; n < 20000 && has_failed; n++) {
        rg_ctx *c = test_ctx();
        setup s = begin(c, f, "flux");
        s.args.steps = 2;
        s.args.cfg = 2.5;
        s.args.sampler = named(rg_sampler_names, "dpmpp_2m_sde");
        set_samples(&s, input(&s, "latent", NULL), input(&s, "mask", "small"));
        set_area(&s.positive->entries[0], false, 3, 3, 0, 0);
        atomic_store(&rg_alloc_fail_after, n);
        const int ret = run(&s);
        has_failed = atomic_exchange(&rg_alloc_fail_after, -1) < 0;
        n_errors += ret < 0;
        if (ret < 0)
            CHECK_INT(ret, RG_ERR_NOMEM);
        end(&s);
        rg_ctx_free(c);
    }
    CHECK(!has_failed);
    CHECK(n_errors > n / 2);
}

/* A run of many steps must not hold more memory than one of few: states are replaced, not piled up. */
TEST(memory_does_not_grow_with_steps)
{
    test_fixture *f = test_open("diffusion/samplers.safetensors");
    size_t peak[2];

    for (int i = 0; i < 2; i++) {
        rg_ctx *c = test_ctx();
        setup s = begin(c, f, "flux");
        s.args.steps = i == 0 ? 10 : 100;
        s.args.sampler = named(rg_sampler_names, "dpmpp_2m");
        rg_ctx_reset_peak(c);
        CHECK_INT(run(&s), 0);
        peak[i] = rg_ctx_peak_bytes(c);
        end(&s);
        rg_ctx_free(c);
    }
    CHECK(peak[1] <= peak[0] + 4096);
}
