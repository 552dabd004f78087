/* The bar is redrawn at most ten times a second; rate and time left are of the steps after the first, which also warms up. */
#include "tools/cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

double rg_cli_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void rg_cli_progress_init(rg_cli_progress *p, bool is_quiet)
{
    *p = (rg_cli_progress){ .is_quiet = is_quiet, .is_terminal = isatty(STDERR_FILENO) };
}

static int terminal_width(void)
{
    struct winsize w;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

static void clear_bar(rg_cli_progress *p)
{
    if (p->has_bar)
        fputs("\r\033[K", stderr);
    p->has_bar = false;
}

static void format_seconds(double s, char *text, size_t size)
{
    if (s < 60)
        snprintf(text, size, "%.0f s", s);
    else if (s < 3600)
        snprintf(text, size, "%d:%02d min", (int)s / 60, (int)s % 60);
    else
        snprintf(text, size, "%d:%02d h", (int)s / 3600, (int)s / 60 % 60);
}

static void draw_bar(rg_cli_progress *p, const rg_event *e)
{
    const double now = rg_cli_now();
    const int64_t timed = e->step - p->first_step;
    char text[160], bar[64], left[32] = "";
    double rate = 0.0;

    if (e->step < e->total && now - p->last_drawn < 0.1)
        return;
    p->last_drawn = now;
    if (timed > 0 && now > p->first_step_at)
        rate = (double)timed / (now - p->first_step_at);
    if (rate > 0.0 && e->step < e->total) {
        char seconds[24];
        format_seconds((double)(e->total - e->step) / rate, seconds, sizeof seconds);
        snprintf(left, sizeof left, ", %s left", seconds);
    }
    int width = terminal_width() - 60;
    width = width < 10 ? 10 : width > 40 ? 40 : width;
    const int filled = e->total > 0 ? (int)(width * e->step / e->total) : 0;
    memset(bar, '#', (size_t)filled);
    memset(bar + filled, '.', (size_t)(width - filled));
    bar[width] = '\0';
    if (rate >= 1.0)
        snprintf(text, sizeof text, "%.1f steps/s%s", rate, left);
    else if (rate > 0.0)
        snprintf(text, sizeof text, "%.1f s/step%s", 1.0 / rate, left);
    else
        text[0] = '\0';
    fprintf(stderr, "\r\033[K%.12s %.20s [%s] %lld/%lld %s", e->node_id ? e->node_id : "", e->class_type ? e->class_type : "", bar,
            (long long)e->step, (long long)e->total, text);
    fflush(stderr);
    p->has_bar = true;
}

void rg_cli_progress_event(rg_cli_progress *p, const rg_event *e)
{
    if (p->is_quiet)
        return;
    switch (e->kind) {
    case RG_EVENT_EXECUTING:
        p->node_started = rg_cli_now();
        p->first_step = 0;
        p->last_drawn = 0.0;
        if (p->is_terminal && e->class_type) {
            clear_bar(p);
            fprintf(stderr, "%.12s %.40s ...", e->node_id, e->class_type);
            fflush(stderr);
            p->has_bar = true;
        }
        break;
    case RG_EVENT_PROGRESS:
        if (p->first_step == 0) {
            p->first_step = e->step;
            p->first_step_at = rg_cli_now();
        }
        if (p->is_terminal)
            draw_bar(p, e);
        break;
    case RG_EVENT_EXECUTED:
        clear_bar(p);
        if (e->seconds >= 0.05)         /* what takes no time is no news */
            fprintf(stderr, "%s %s: %.2f s\n", e->node_id, e->class_type, e->seconds);
        break;
    default:
        break;
    }
}

void rg_cli_progress_end(rg_cli_progress *p)
{
    clear_bar(p);
    fflush(stderr);
}
